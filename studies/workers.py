"""The processes that work on a sweep: they register, renew and sign off.

    register    a row of `workers`, the sweep is `running`
    renew       the heartbeat, and all leases of the worker in one statement
    sign_off    its trials are handed back; the last one out says how the sweep stands

A worker is alive while its heartbeat, by the database's clock, is younger than its lease. On its
own machine the kernel knows sooner: a process that is gone is buried, and its leases expire.

The sweep's wall clock is the time with a worker alive, but for pauses: every heartbeat adds the
time since the last one of any worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from shlex import quote
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Insert, insert, select, update

from studies import schema, tables
from studies.bulk import among
from studies.database import writing
from studies.errors import GoneError, UserError
from studies.fences import in_order, lock, release_trials
from studies.processes import this_process
from studies.retrying import at_most, transaction
from studies.roster import Held, Worker, find_workers, living, stop_first
from studies.schema import Status, utc_in, utc_now
from studies.standing import Order, begin, give_order, lock_order, lock_study, set_status, tick
from studies.timing import BEATS_PER_LEASE, LEASE_SECONDS

if TYPE_CHECKING:
    from studies.storage import StudyStorage


@dataclass(frozen=True)
class Registered:
    """A worker's own place in `workers`."""

    worker_id: int
    study_id: int
    lease_seconds: float
    leads: bool
    elapsed_seconds: float  # the sweep's wall clock when it registered
    order: Order  # what it was to do then


@dataclass(frozen=True)
class Code:
    """The code, and the machine, that a worker trains with."""

    git_commit: str | None = None
    git_dirty: bool | None = None
    environment: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Renewed:
    """What a heartbeat learned."""

    lost: frozenset[int]  # ids of trials that another worker holds by now
    elapsed_seconds: float  # the sweep's wall clock
    leads: bool  # False: another `sweeps run` leads now
    order: Order


def register(
    storage: StudyStorage,
    study_id: int,
    *,
    device: str = "cpu",
    lanes: int = 1,
    lease_seconds: float = LEASE_SECONDS,
    leads: bool = False,
    code: Code | None = None,
) -> Registered:
    """Registers this process as a worker, and buries those of this machine that are gone.

    `leads`: this is `sweeps run`, which plans and follows to MLflow; there is one at a time. It
    lets a sweep go on that was stopped.

    Raises:
        UserError: another process that lives leads, or the sweep was stopped and this one does not.
        GoneError: no such sweep.
    """

    def enter(connection: Connection) -> Registered:
        name = lock_study(connection, study_id)
        present = bury(connection, study_id)
        live = [worker for worker in present if worker.alive]
        if leads:
            _lead(connection, study_id, name, [worker for worker in present if worker.leads])
        elapsed, order = tick(connection, study_id, lease_seconds, count=bool(live))
        if order.ends and not leads:
            why = f"{order.past}: {order.reason}" if order.reason else order.by
            raise UserError(f"study '{name}' was {why}. To go on: {order.go_on(name)}")
        order = _begin(connection, study_id, order, first=not live)
        own = {"device": device, "lanes": lanes, "leads": leads, "lease_seconds": lease_seconds}
        row = _row(study_id).values(**own, **asdict(code or Code()))
        worker_id = connection.execute(row.returning(schema.workers.c.worker_id)).scalar_one()
        return Registered(worker_id, study_id, lease_seconds, leads, elapsed, order)

    return transaction(storage.engine, enter, _has_entered)


def _has_entered(connection: Connection, me: Registered) -> bool:
    """Whether a registration whose COMMIT was not answered has arrived."""
    lock_study(connection, me.study_id)
    there = find_workers(connection, me.study_id)
    return any((w.worker_id, w.process) == (me.worker_id, this_process()) for w in there)


def renew(
    storage: StudyStorage,
    worker: Registered,
    tokens: Mapping[int, int],
    numbers: Mapping[str, Any] | None = None,
) -> Renewed:
    """Says that the worker lives, and extends the leases of the trials in `tokens`.

    `numbers`: what it does, for others to read; JSON-able.

    While the database is lost, it is tried again for a third of a lease: then the next beat is due.

    Raises:
        GoneError: the worker is not there: its study was deleted.
        OutOfReachError: the database is lost.
    """
    leases, workers = schema.leases, schema.workers
    mine = (leases.c.worker_id == worker.worker_id) & among(leases.c.trial_id, list(tokens))

    def extend(connection: Connection) -> Renewed:
        # First, since one may wait for its row, and a lease counts from when it is written.
        elapsed, order = tick(connection, worker.study_id, worker.lease_seconds, count=True)
        held = connection.execute(
            update(leases)
            .where(in_order(mine & leases.c.expires_at.is_not(None)))
            .values(expires_at=utc_in(worker.lease_seconds))
            .returning(leases.c.trial_id, leases.c.token)
        ).all()
        beat = update(workers).where(workers.c.worker_id == worker.worker_id)
        beat = beat.values(heartbeat=utc_now(), ended=None, numbers=numbers)
        leads = connection.execute(beat.returning(workers.c.leads)).scalar_one_or_none()
        if leads is None:
            raise GoneError(f"worker {worker.worker_id} is not there: its study was deleted")
        found = {row.trial_id: row.token for row in held}
        lost = frozenset(trial for trial, token in tokens.items() if found.get(trial) != token)
        return Renewed(lost, elapsed, leads, order)

    with at_most(worker.lease_seconds / BEATS_PER_LEASE):
        return transaction(storage.engine, extend)


def bury_dead(storage: StudyStorage, study_id: int) -> None:
    """Ends the workers of this machine whose processes are gone; their leases expire at once.

    It is part of a heartbeat, and the next one comes anyway: it is not tried again.
    """
    with storage.engine.connect() as connection:
        dead = [worker for worker in find_workers(connection, study_id) if worker.process.gone]
    if dead:
        with writing(storage.engine).begin() as connection:
            lock_study(connection, study_id)
            bury(connection, study_id)


def sign_off(storage: StudyStorage, worker: Registered, status: Status) -> list[int]:
    """Ends a worker: hands its trials back; `status` is the sweep's, when no other worker lives.

    Returns:
        The numbers of the trials that were handed back.

    Raises:
        GoneError: its study was deleted.
    """
    leases, workers, trials = schema.leases, schema.workers, tables.trials
    mine = select(leases.c.trial_id).where(
        leases.c.worker_id == worker.worker_id, leases.c.expires_at.is_not(None)
    )

    def leave(connection: Connection) -> list[int]:
        lock_order(connection, worker.study_id, worker.worker_id)
        held = trials.c.trial_id.in_(mine) & (trials.c.state == TrialState.RUNNING)
        numbers = lock(connection, held)
        left = connection.scalars(mine.where(among(leases.c.trial_id, list(numbers)))).all()
        release_trials(connection, left)
        connection.execute(
            update(workers)
            .where(workers.c.worker_id == worker.worker_id)
            .values(ended=utc_now(), heartbeat=utc_now())
        )
        tick(connection, worker.study_id, worker.lease_seconds, count=True)
        if not living(connection, worker.study_id):
            set_status(connection, worker.study_id, status)
        return sorted(numbers[trial_id] for trial_id in left)

    def has_left(connection: Connection, _: list[int]) -> bool:
        lock_study(connection, worker.study_id)
        there = find_workers(connection, worker.study_id)
        return worker.worker_id not in {other.worker_id for other in there}

    return transaction(storage.engine, leave, has_left)


def _begin(connection: Connection, study_id: int, order: Order, *, first: bool) -> Order:
    """The sweep is `running`; one that was stopped goes on."""
    if order.ends or first:
        begin(connection, study_id)
    set_status(connection, study_id, "running")
    return give_order(connection, study_id, Order()) if order.ends else order


def _row(study_id: int) -> Insert:
    me = this_process()
    return insert(schema.workers).values(
        study_id=study_id,
        host=me.host,
        kernel=me.kernel,
        pid=me.pid,
        started=me.started,
        version=version("sweeplane"),
        heartbeat=utc_now(),
    )


def bury(connection: Connection, study_id: int) -> list[Worker]:
    """Ends the workers of this machine whose processes are gone; returns the others."""
    leases, workers = schema.leases, schema.workers
    found = find_workers(connection, study_id)
    dead = [worker.worker_id for worker in found if worker.process.gone]
    if dead:
        held = leases.c.worker_id.in_(dead) & leases.c.expires_at.is_not(None)
        connection.execute(update(leases).where(in_order(held)).values(expires_at=utc_now()))
        connection.execute(
            update(workers).where(workers.c.worker_id.in_(dead)).values(ended=utc_now())
        )
    return [worker for worker in found if worker.worker_id not in dead]


def _lead(connection: Connection, study_id: int, study: str, leaders: Sequence[Worker]) -> None:
    me, workers = this_process(), schema.workers
    others = [leader for leader in leaders if leader.alive and leader.process != me]
    if others:
        held = Held(study_id, study, others)
        raise UserError(
            f"{held.words()}. {stop_first([held])}, or give another --name, or work on it "
            f"together: sweeps worker --study {quote(study)}"
        )
    ids = [leader.worker_id for leader in leaders]
    connection.execute(update(workers).where(workers.c.worker_id.in_(ids)).values(leads=False))
