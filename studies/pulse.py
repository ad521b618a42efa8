"""What the live workers of a sweep do, as their last heartbeats say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studies import schema
from studies.retrying import retried
from studies.roster import Worker, living

if TYPE_CHECKING:
    from studies.storage import StudyStorage


@dataclass(frozen=True)
class Pulse:
    """The numbers of the workers that live and have said some, with the sweep's wall clock.

    The clock stood at `elapsed_seconds` `at` the last heartbeat of any worker (naive UTC); None for
    a plain Optuna study, or before the first.
    """

    elapsed_seconds: float
    at: datetime | None
    workers: tuple[tuple[Worker, Mapping[str, Any]], ...]


@retried
def read_pulse(storage: StudyStorage, study_id: int) -> Pulse:
    """Returns what the live workers of a study do, the oldest first."""
    sweeps, workers = schema.sweeps.c, schema.workers.c
    clock = select(sweeps.elapsed_seconds, sweeps.elapsed_at).where(sweeps.study_id == study_id)
    said = select(workers.worker_id, workers.numbers).where(
        workers.study_id == study_id, workers.ended.is_(None)
    )
    with storage.engine.connect() as connection:
        sweep = connection.execute(clock).one_or_none()
        numbers = {row.worker_id: row.numbers for row in connection.execute(said) if row.numbers}
        live = living(connection, study_id)
    pairs = tuple((w, numbers[w.worker_id]) for w in live if w.worker_id in numbers)
    if sweep is None:
        return Pulse(0.0, None, pairs)
    return Pulse(sweep.elapsed_seconds or 0.0, sweep.elapsed_at, pairs)
