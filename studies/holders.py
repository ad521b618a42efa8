"""Who works on the sweeps of a study DB right now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import inspect

from studies import schema
from studies.runner import Process, read_runner, runner_columns

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Holder:
    """A live process that holds a sweep."""

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


def live_holders(
    connection: Connection, study_id: int | None = None, *, lock: bool = False
) -> list[Holder]:
    """The live holders of every sweep, or of one; empty in a database without our tables.

    `lock`: no other process can take these sweeps before the transaction ends.
    """
    sweeps = schema.sweeps
    if not inspect(connection).has_table(sweeps.name):
        return []
    query = runner_columns().add_columns(sweeps.c.study_id)
    if study_id is not None:
        query = query.where(sweeps.c.study_id == study_id)
    if lock:
        query = query.with_for_update(of=sweeps)
    found = []
    for row in connection.execute(query).all():
        runner = read_runner(row)
        if runner is not None and runner.alive:
            holder = Holder(row.study_id, row.study_name, runner.process, runner.heartbeat_age)
            found.append(holder)
    return found
