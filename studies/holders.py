"""Who works on the sweeps of a study DB right now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select

from studies import schema, tables
from studies.processes import Process
from studies.workers import find_workers

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
        return (
            f"study '{self.study}' is being run by process {self.process.pid} on "
            f"'{self.process.host}' (heartbeat {self.heartbeat_age:.0f} s ago)"
        )


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
