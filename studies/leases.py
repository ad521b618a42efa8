"""Trials for a worker, each with a lease: exact over any number of workers, kills and relaunches.

    claim    one transaction under the lock of the study's row:
             1. trials whose lease has expired: same trial, same number, next attempt; after
                MAX_ATTEMPTS it is FAIL
             2. trials that wait
             3. new trials

A trial of 1 and 2 has the curve that it had: whoever takes it rewinds it to the step that it goes
on from (`batches.Drawn`).

2 and 3 only while the budget has places: COMPLETE, PRUNED and RUNNING trials hold one each, a
failed one gives its place back. Sampling comes afterwards, without any lock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import Connection, func, insert, select, update

from studies import schema, tables
from studies.batches import SYSTEM_ATTRS, fail
from studies.bulk import Target, among, upsert
from studies.fences import Fence, forget_half_drawn, lock, lock_running
from studies.retrying import transaction
from studies.rows import outcome_of, with_attr
from studies.schema import CANCELLED, utc_in, utc_now
from studies.standing import Order, lock_order

if TYPE_CHECKING:
    from studies.storage import StudyStorage
    from studies.workers import Registered

MAX_ATTEMPTS = 3
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
"""States that hold one of the budget's trials."""
LEASES = Target(schema.leases, ("trial_id",), ("worker_id", "token", "attempt"))


@dataclass(frozen=True)
class Lease:
    """One trial that a worker may write to."""

    trial_id: int
    number: int
    token: int
    attempt: int  # from 1


@dataclass(frozen=True)
class Points:
    """Numbered points of a space, each for one trial: `key` is the attribute that holds a number.

    `free` gives the numbers that new trials take, in order, from those of the trials that have one,
    each with whether its trial has failed.
    """

    key: str
    free: Callable[[Sequence[tuple[int, bool]]], Sequence[int]]


@dataclass(frozen=True)
class Claim:
    """What a claim found."""

    leases: tuple[Lease, ...]
    given_up: tuple[int, ...]  # numbers of the trials that failed, since their workers died
    elsewhere: int  # trials that other workers hold
    full: bool  # every place of the budget is taken
    order: Order  # nothing is taken unless it is `run`


def claim(
    storage: StudyStorage,
    worker: Registered,
    n: int,
    *,
    places: float = math.inf,
    holding: Collection[int] = (),
    points: Points | None = None,
    max_attempts: int = MAX_ATTEMPTS,
) -> Claim:
    """Takes up to `n` trials: expired ones, then waiting ones, then new ones.

    Args:
        storage, worker, n: where, who takes them, and how many at most.
        places, max_attempts: budget.trials, and how often a worker may die on one trial.
        holding: the ids of the trials that the worker has: it never takes over its own.
        points: where new trials have numbered points, as in a grid.

    Raises:
        GoneError: the study is not there any more.
    """

    def take(connection: Connection) -> Claim:
        order = lock_order(connection, study_id := worker.study_id, worker.worker_id)
        if order.control != "run":
            return Claim((), (), 0, full=False, order=order)
        again, lost = _take_over(connection, study_id, n, holding, max_attempts)
        counts = _counts(connection, study_id)
        room = places - sum(counts.get(state, 0) for state in COUNTED)
        waiting = _waiting(connection, study_id, min(n - len(again), room))
        _start(connection, [*again, *waiting])
        room -= len(waiting)
        wanted = min(n - len(again) - len(waiting), room)
        free = _free(connection, study_id, points)
        new = _create(connection, study_id, sum(counts.values()), wanted, points, free)
        _write(connection, worker, leases := (*again, *waiting, *new))
        others = _elsewhere(connection, study_id, leases, holding)
        return Claim(leases, lost, others, room - len(new) <= 0, order)

    return transaction(storage.engine, take, lambda *of: _has_taken(worker, *of))


def _has_taken(worker: Registered, connection: Connection, found: Claim) -> bool:
    """Whether a claim whose COMMIT was not answered has arrived: the worker has its leases."""
    lock_order(connection, worker.study_id, worker.worker_id)
    tokens = {lease.trial_id: lease.token for lease in found.leases}
    return bool(lock_running(connection, tokens, Fence(worker.worker_id, tokens)))


def _take_over(
    connection: Connection, study_id: int, n: int, holding: Collection[int], max_attempts: int
) -> tuple[list[Lease], tuple[int, ...]]:
    """Takes up to `n` expired trials; returns their leases, and who was given up instead."""
    found = expired(connection, study_id, holding)
    lost = [lease for lease in found if lease.attempt > max_attempts]
    again = [lease for lease in found if lease.attempt <= max_attempts][:n]
    give_up(connection, lost, max_attempts)
    if again:
        forget_half_drawn(connection, [lease.trial_id for lease in again])
    return again, tuple(lease.number for lease in lost)


def expired(
    connection: Connection,
    study_id: int,
    holding: Collection[int],
    workers: Sequence[int] | None = None,
) -> list[Lease]:
    """Locks the trials whose leases (of these `workers`) have expired; the leases that follow."""
    leases, trials = schema.leases, tables.trials
    past = leases.c.expires_at <= utc_now()
    if workers is not None:
        past &= among(leases.c.worker_id, workers)
    numbers = lock(
        connection,
        (trials.c.study_id == study_id)
        & (trials.c.state == TrialState.RUNNING)
        & trials.c.trial_id.in_(select(leases.c.trial_id).where(past))
        & ~among(trials.c.trial_id, list(holding)),
    )
    if not numbers:
        return []
    # A renewal may have come in between: this statement sees it.
    rows = connection.execute(
        select(leases.c.trial_id, leases.c.token, leases.c.attempt)
        .where(among(leases.c.trial_id, list(numbers)), past)
        .order_by(leases.c.trial_id)
        .with_for_update()
    )
    return [Lease(id_, numbers[id_], token + 1, attempt + 1) for id_, token, attempt in rows]


def give_up(connection: Connection, lost: Sequence[Lease], attempts: int) -> None:
    """Ends locked trials on which so many workers have died."""
    if lost:
        ids = [lease.trial_id for lease in lost]
        fail(connection, ids, outcome="failed", reason=f"its worker died {attempts} times")


def _counts(connection: Connection, study_id: int) -> dict[TrialState, int]:
    trials = tables.trials
    query = select(trials.c.state, func.count().label("trials")).group_by(trials.c.state)
    rows = connection.execute(query.where(trials.c.study_id == study_id))
    return {row.state: row.trials for row in rows}


def _waiting(connection: Connection, study_id: int, wanted: float) -> list[Lease]:
    """Locks the first trials that wait; returns their leases to come."""
    leases, trials = schema.leases, tables.trials
    if wanted < 1:
        return []
    waits = (trials.c.study_id == study_id) & (trials.c.state == TrialState.WAITING)
    first = select(trials.c.trial_id).where(waits).order_by(trials.c.trial_id).limit(int(wanted))
    numbers = lock(connection, waits & trials.c.trial_id.in_(first.scalar_subquery()))
    query = select(leases.c.trial_id, leases.c.token, leases.c.attempt)
    rows = connection.execute(query.where(among(leases.c.trial_id, list(numbers))))
    before = {row.trial_id: (row.token, row.attempt) for row in rows}
    found = []
    for trial_id, number in numbers.items():
        token, attempt = before.get(trial_id, (0, 1))
        found.append(Lease(trial_id, number, token + 1, attempt))
    return found


def _start(connection: Connection, leases: Sequence[Lease]) -> None:
    if not leases:
        return
    trials = tables.trials
    start = func.coalesce(trials.c.datetime_start, tables.now())  # it stays where a curve goes on
    connection.execute(
        update(trials)
        .where(among(trials.c.trial_id, [lease.trial_id for lease in leases]))
        .values(state=TrialState.RUNNING, datetime_start=start)
    )


def _free(connection: Connection, study_id: int, points: Points | None) -> list[int] | None:
    """The points that no trial has; None: there are none at all."""
    if points is None:
        return None
    trials, attrs = tables.trials, tables.system_attrs
    having = trials.join(attrs, attrs.c.trial_id == trials.c.trial_id)
    source, outcome = with_attr(having, "outcome")
    rows = connection.execute(
        select(attrs.c.value_json, trials.c.state, outcome.label("outcome"))
        .select_from(source)
        .where(trials.c.study_id == study_id, attrs.c.key == points.key)
    )
    return list(points.free([(json.loads(row.value_json), _has_failed(row)) for row in rows]))


def _has_failed(row: Any) -> bool:
    cancelled = outcome_of(row.state, row.outcome) == CANCELLED
    return bool(row.state == TrialState.FAIL and not cancelled)


def _create(
    connection: Connection,
    study_id: int,
    first: int,
    wanted: float,
    points: Points | None,
    free: list[int] | None,
) -> list[Lease]:
    """Creates trials as Optuna does: a number is the count of the study's trials before."""
    trials = tables.trials
    count = max(0, int(wanted if free is None else min(wanted, len(free))))
    if not count:
        return []
    numbers = range(first, first + count)
    common = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": tables.now()}
    rows = [{"number": number, **common} for number in numbers]
    # A higher number has a higher id: the mirror counts on it.
    new = insert(trials).returning(trials.c.trial_id, sort_by_parameter_order=True)
    ids = connection.scalars(new, rows).all()
    found = [Lease(id_, number, 1, 1) for id_, number in zip(ids, numbers, strict=True)]
    if points is not None and free is not None:
        pairs = zip(ids, free, strict=False)
        upsert(connection, SYSTEM_ATTRS, [(id_, points.key, json.dumps(n)) for id_, n in pairs])
    return found


def _write(connection: Connection, worker: Registered, given: Sequence[Lease]) -> None:
    if not given:
        return
    leases, claims = schema.leases, schema.claims
    rows = [(lease.trial_id, worker.worker_id, lease.token, lease.attempt) for lease in given]
    upsert(connection, LEASES, rows)
    mine = among(leases.c.trial_id, [lease.trial_id for lease in given])
    connection.execute(update(leases).where(mine).values(expires_at=utc_in(worker.lease_seconds)))
    names = ("trial_id", "token", "worker_id")
    held = select(*(leases.c[name] for name in names), utc_now()).where(mine)
    connection.execute(insert(claims).from_select([*names, "claimed_at"], held))


def _elsewhere(
    connection: Connection, study_id: int, taken: Sequence[Lease], holding: Collection[int]
) -> int:
    mine = {*holding, *(lease.trial_id for lease in taken)}
    leases, trials = schema.leases, tables.trials
    query = (
        select(func.count())
        .select_from(trials.join(leases, leases.c.trial_id == trials.c.trial_id))
        .where(
            trials.c.study_id == study_id,
            trials.c.state == TrialState.RUNNING,
            leases.c.expires_at.is_not(None),
            ~among(trials.c.trial_id, list(mine)),
        )
    )
    return connection.scalar(query) or 0
