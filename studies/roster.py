"""Who works on the sweeps of a study DB, as others see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import inspect, select

from studies import schema, tables
from studies.processes import Process
from studies.retrying import retried
from studies.schema import utc_now

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studies.storage import StudyStorage

_READ = (
    *("worker_id", "study_id", "host", "kernel", "pid", "started", "device", "lanes", "leads"),
    *("heartbeat", "lease_seconds"),
)


@dataclass(frozen=True)
class Worker:
    """A worker as others see it."""

    worker_id: int
    study_id: int
    process: Process
    device: str
    lanes: int
    leads: bool
    heartbeat: datetime  # naive UTC, by the database's clock
    heartbeat_age: float  # seconds
    lease_seconds: float
    alive: bool


@dataclass(frozen=True)
class Held:
    """A study that live workers hold."""

    study_id: int
    name: str
    workers: Sequence[Worker]  # one at least

    def words(self) -> str:
        """Who holds it, in words."""
        each = [
            f"process {worker.process.pid} on '{worker.process.host}' "
            f"(heartbeat {worker.heartbeat_age:.0f} s ago)"
            for worker in self.workers
        ]
        return f"study '{self.name}' is being run by {', '.join(each)}"


@retried
def live_workers(storage: StudyStorage, study_id: int) -> list[Worker]:
    """The workers that live, the oldest first."""
    with storage.engine.connect() as connection:
        return living(connection, study_id)


def living(connection: Connection, study_id: int | None = None) -> list[Worker]:
    """The workers that live, of every study or of one, the oldest first."""
    return [worker for worker in find_workers(connection, study_id) if worker.alive]


def find_workers(connection: Connection, study_id: int | None = None) -> list[Worker]:
    """The workers that have not ended, alive or not; of every study, or of one."""
    workers = schema.workers
    # By name: the table may be that of an older version, which is about to be upgraded.
    columns = [workers.c[name] for name in _READ]
    query = select(*columns, utc_now().label("now")).where(workers.c.ended.is_(None))
    if study_id is not None:
        query = query.where(workers.c.study_id == study_id)
    return [_read(row) for row in connection.execute(query.order_by(workers.c.worker_id))]


def held_studies(connection: Connection, study_id: int | None = None) -> list[Held]:
    """The studies with live workers, or the one; none in a database without our tables.

    No other joins before the transaction ends, if it has locked the study's row.
    """
    if not inspect(connection).has_table(schema.workers.name):
        return []
    of: dict[int, list[Worker]] = {}
    for worker in living(connection, study_id):
        of.setdefault(worker.study_id, []).append(worker)
    studies = tables.studies
    names = select(studies.c.study_id, studies.c.study_name).where(studies.c.study_id.in_(of))
    rows = connection.execute(names.order_by(studies.c.study_id))
    return [Held(row.study_id, row.study_name, of[row.study_id]) for row in rows]


def in_words(held: Sequence[Held]) -> str:
    """Who holds which study, in words."""
    return "; ".join(each.words() for each in held)


def stop_first(held: Sequence[Held]) -> str:
    """What to do before one can have these studies alone."""
    commands = (f"sweeps stop {quote(each.name)} --wait" for each in held)
    return f"Stop it first: {' && '.join(commands)}"


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


def _read(row: Any) -> Worker:
    process = Process(row.host, row.kernel, row.pid, row.started)
    age = (row.now - row.heartbeat).total_seconds()
    return Worker(
        worker_id=row.worker_id,
        study_id=row.study_id,
        process=process,
        device=row.device,
        lanes=row.lanes,
        leads=row.leads,
        heartbeat=row.heartbeat,
        heartbeat_age=age,
        lease_seconds=row.lease_seconds,
        alive=age < row.lease_seconds and not process.gone,
    )
