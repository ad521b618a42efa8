"""Commands to the workers of a sweep, and the end of single trials.

    give           run, pause, stop, cancel; `cancel` gives trials back in the same transaction
    cancel_trials  ends single trials for good: FAIL with the outcome `cancelled`
    break_loop     says `stop` when the last trials of the sweep failed with one cause

Workers learn of it with their next heartbeat or claim. What was given back or ended is refused to
them by its token at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from optuna.trial import TrialState
from sqlalchemy import func, select

from studies import schema, tables
from studies.batches import fail
from studies.database import writing
from studies.errors import UserError
from studies.fences import lock, release_trials
from studies.lookup import find_study
from studies.retrying import retried, transaction
from studies.roster import Worker, living
from studies.rows import outcome_of, with_attr
from studies.schema import CANCELLED, Control
from studies.standing import Order, begin, give_order, lock_study, read_order, tick
from studies.timing import LEASE_SECONDS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studies.storage import StudyStorage


@dataclass(frozen=True)
class Given:
    """What a command found and did."""

    study: str
    before: Order
    order: Order
    workers: Sequence[Worker]  # those that live
    back: Sequence[int] = ()  # numbers of the trials that were given back


@dataclass(frozen=True)
class Ended:
    """A trial that a worker has ended."""

    number: int
    state: TrialState
    reason: str | None


@retried
def current_order(storage: StudyStorage, study_id: int, worker_id: int) -> Order:
    """What a worker of a sweep is to do.

    Raises:
        GoneError: no such sweep, or no such worker of it.
    """
    with storage.engine.connect() as connection:
        return read_order(connection, study_id, worker_id)


def give(storage: StudyStorage, study_name: str, control: Control) -> Given:
    """Tells the workers of a sweep what to do from now on; the same again changes nothing.

    Raises:
        UserError: no such sweep; one to pause that was stopped, or to resume that may run.
    """
    with writing(storage.engine).begin() as connection:
        study_id = _locked(connection, study_name)
        before = read_order(connection, study_id)
        live = living(connection, study_id)
        _refuse(study_name, before, control)
        order = before
        if control != before.control and (before.control, control) != ("cancel", "stop"):
            longest = max((worker.lease_seconds for worker in live), default=LEASE_SECONDS)
            tick(connection, study_id, longest, count=bool(live))
            order = give_order(connection, study_id, Order(control))
            if before.ends and control == "run":
                begin(connection, study_id)
        back = _give_back(connection, study_id) if control == "cancel" else []
    return Given(study_name, before, order, live, back)


def cancel_trials(storage: StudyStorage, study_name: str, numbers: Sequence[int]) -> list[int]:
    """Ends trials for good that have not ended: FAIL, outcome `cancelled`, no place of the budget.

    Returns:
        Those of `numbers` that were ended now; the others were cancelled before.

    Raises:
        UserError: no such sweep or trial, or one that has ended otherwise; nothing is done then.
    """
    trials = tables.trials
    with writing(storage.engine).begin() as connection:
        study_id = _locked(connection, study_name)
        found = lock(connection, (trials.c.study_id == study_id) & trials.c.number.in_(numbers))
        states = _outcomes(connection, list(found))
        problems = [_problem(study_name, number, states) for number in numbers]
        said = [problem for problem in problems if problem]
        if said:
            raise UserError("\n".join(said))
        ids = {number: trial_id for trial_id, number in found.items() if states[number] is None}
        if ids:
            fail(
                connection,
                [*ids.values()],
                outcome=CANCELLED,
                reason="cancelled by `sweeps cancel`",
            )
    return sorted(ids)


def break_loop(
    storage: StudyStorage, study_id: int, last: int, words: Callable[[Sequence[Ended]], str | None]
) -> Order:
    """Stops a sweep when `words` says why, given the `last` trials that its workers ended.

    The trials are those since the workers last began, the newest first, without cancelled ones.

    Returns:
        The sweep's order afterwards.

    Raises:
        GoneError: the study is not there any more.
    """

    def judge(connection: Connection) -> Order:
        lock_study(connection, study_id)
        order = read_order(connection, study_id)
        reason = None if order.ends else words(_last_ended(connection, study_id, last))
        if reason is None:
            return order
        return give_order(connection, study_id, Order("stop", reason))

    return transaction(storage.engine, judge)


def _locked(connection: Connection, study_name: str) -> int:
    study = find_study(connection, study_name)
    if study.status is None:
        raise UserError(
            f"study '{study_name}' was not made by a sweep file: no worker of Sweeplane is on it"
        )
    lock_study(connection, study.study_id)
    return study.study_id


def _refuse(study: str, before: Order, control: Control) -> None:
    if control == "run" and before.control == "run":
        raise UserError(
            f"study '{study}' is neither paused nor stopped: there is nothing to resume. "
            f"See sweeps status {quote(study)}"
        )
    if control == "pause" and before.ends:
        raise UserError(
            f"study '{study}' was {before.past} already, so there is nothing to pause. "
            f"To go on: {before.go_on(study)}"
        )


def _give_back(connection: Connection, study_id: int) -> list[int]:
    """RUNNING trials with a lease become WAITING; their workers' writes are refused from now on."""
    leases, trials = schema.leases, tables.trials
    leased = select(leases.c.trial_id).where(leases.c.expires_at.is_not(None))
    numbers = lock(
        connection,
        (trials.c.study_id == study_id)
        & (trials.c.state == TrialState.RUNNING)
        & trials.c.trial_id.in_(leased),
    )
    if numbers:
        release_trials(connection, list(numbers))
    return sorted(numbers.values())


def _outcomes(connection: Connection, trial_ids: Sequence[int]) -> dict[int, str | None]:
    """How trials have ended, by number; None: not yet."""
    trials = tables.trials
    source, outcome = with_attr(trials, "outcome")
    query = (
        select(trials.c.number, trials.c.state, outcome.label("outcome"))
        .select_from(source)
        .where(trials.c.trial_id.in_(trial_ids))
    )
    return {
        row.number: outcome_of(row.state, row.outcome) if row.state.is_finished() else None
        for row in connection.execute(query)
    }


def _problem(study: str, number: int, states: Mapping[int, str | None]) -> str | None:
    if number not in states:
        return f"study '{study}' has no trial {number}. See sweeps status {quote(study)}"
    if states[number] not in (None, CANCELLED):
        return (
            f"trial {number} of study '{study}' has ended ({states[number]}); only a running or "
            "waiting one can be cancelled"
        )
    return None


def _last_ended(connection: Connection, study_id: int, last: int) -> list[Ended]:
    leases, trials, sweeps = schema.leases, tables.trials, schema.sweeps
    ended = trials.join(leases, leases.c.trial_id == trials.c.trial_id)
    source, reason = with_attr(ended.join(sweeps, sweeps.c.study_id == trials.c.study_id), "reason")
    source, outcome = with_attr(source, "outcome")
    query = (
        select(trials.c.number, trials.c.state, reason.label("reason"))
        .select_from(source)
        .where(
            trials.c.study_id == study_id,
            leases.c.ended_at >= sweeps.c.started_at,
            func.coalesce(outcome, "") != json.dumps(CANCELLED),
        )
        .order_by(leases.c.ended_at.desc(), trials.c.trial_id.desc())
        .limit(last)
    )
    return [
        Ended(row.number, row.state, json.loads(row.reason) if row.reason else None)
        for row in connection.execute(query)
    ]
