"""Who works on the sweeps of a study DB right now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.trial import TrialState
from sqlalchemy import inspect, select

from studies import schema, tables
from studies.processes import Process
from studies.roster import find_workers

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Holder:
    """A live process that works on a sweep."""

    study_id: int
    study: str
    process: Process
    heartbeat_age: float  # seconds

    def words(self) -> str:
        """Who holds what, in words."""
        return in_words([self])


def in_words(holders: Sequence[Holder]) -> str:
    """Who holds a study, in words; there is one at least."""
    each = [
        f"process {holder.process.pid} on '{holder.process.host}' "
        f"(heartbeat {holder.heartbeat_age:.0f} s ago)"
        for holder in holders
    ]
    return f"study '{holders[0].study}' is being run by {', '.join(each)}"


def live_holders(connection: Connection, study_id: int | None = None) -> list[Holder]:
    """The live workers of every sweep, or of one; empty in a database without our tables.

    No other joins before the transaction ends, if it has locked the study's row.
    """
    if not inspect(connection).has_table(schema.workers.name):
        return []
    live = [worker for worker in find_workers(connection, study_id) if worker.alive]
    studies = tables.studies
    ids = {worker.study_id for worker in live}
    rows = connection.execute(
        select(studies.c.study_id, studies.c.study_name).where(studies.c.study_id.in_(ids))
    )
    names = {row.study_id: row.study_name for row in rows}
    return [
        Holder(worker.study_id, names[worker.study_id], worker.process, worker.heartbeat_age)
        for worker in live
    ]


def held_by(connection: Connection, study_id: int) -> dict[int, list[int]]:
    """The numbers of the RUNNING trials that each worker holds, by the worker's id."""
    leases, trials = schema.leases, tables.trials
    query = (
        select(leases.c.worker_id, trials.c.number)
        .join_from(leases, trials, trials.c.trial_id == leases.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == TrialState.RUNNING,
            leases.c.expires_at.is_not(None),
        )
        .order_by(trials.c.number)
    )
    found: dict[int, list[int]] = {}
    for worker_id, number in connection.execute(query):
        found.setdefault(worker_id, []).append(number)
    return found
