"""Who works on a sweep, as others see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studies import schema
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


@retried
def live_workers(storage: StudyStorage, study_id: int) -> list[Worker]:
    """The workers that live, the oldest first."""
    with storage.engine.connect() as connection:
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
