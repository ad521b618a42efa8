"""A sweep's row within other modules' transactions: its lock, its wall clock, its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from studies import schema, tables
from studies.errors import GoneError
from studies.schema import Control, Status, utc_now

if TYPE_CHECKING:
    from sqlalchemy import Connection


_PAST: Mapping[Control, str] = {
    "run": "resumed",
    "pause": "paused",
    "stop": "stopped",
    "cancel": "cancelled",
}


@dataclass(frozen=True)
class Order:
    """What the workers of a sweep are to do: see `schema.Control`."""

    control: Control = "run"
    reason: str | None = None  # why Sweeplane itself said so; None: a command did
    since: datetime | None = None  # naive UTC, by the database's clock

    @property
    def ends(self) -> bool:
        """Whether workers leave."""
        return self.control in ("stop", "cancel")

    @property
    def past(self) -> str:
        """What has become of the sweep: "paused", "stopped" or "cancelled"; "run" is "resumed"."""
        return _PAST[self.control]

    @property
    def by(self) -> str:
        """What is done and by which command, in words."""
        return f"{self.past} by `sweeps {'resume' if self.control == 'run' else self.control}`"

    def go_on(self, study: str) -> str:
        """The commands that let the sweep train again where nobody does now."""
        study = quote(study)
        if self.control == "pause":
            return f"sweeps resume {study}"
        if self.control == "run":
            return f"sweeps run FILE, or sweeps worker --study {study}"
        return f"sweeps run FILE, or sweeps resume {study} and then sweeps worker --study {study}"


def lock_study(connection: Connection, study_id: int) -> str:
    """Locks a sweep's study until the transaction ends; returns its name.

    Raises:
        GoneError: no such sweep.
    """
    studies, sweeps = tables.studies, schema.sweeps
    row = connection.execute(
        select(studies.c.study_name)
        .join_from(studies, sweeps, sweeps.c.study_id == studies.c.study_id)
        .where(studies.c.study_id == study_id)
        .with_for_update(of=studies)
    ).one_or_none()
    if row is None:
        raise GoneError(f"no sweep has the study id {study_id}")
    return str(row.study_name)


def lock_order(connection: Connection, study_id: int, worker_id: int) -> Order:
    """Locks a worker's study until the transaction ends; returns its order.

    Raises:
        GoneError: see `read_order`.
    """
    lock_study(connection, study_id)
    return read_order(connection, study_id, worker_id)


def read_order(connection: Connection, study_id: int, worker_id: int | None = None) -> Order:
    """The order of a sweep; `worker_id`: of that worker's sweep, which must be this one.

    Raises:
        GoneError: no such sweep, or the worker is not there: its study was deleted, and SQLite may
            have given its id to another.
    """
    sweeps, workers = schema.sweeps, schema.workers
    query = select(sweeps.c.control, sweeps.c.control_reason, sweeps.c.control_at)
    query = query.where(sweeps.c.study_id == study_id)
    if worker_id is not None:
        query = query.join_from(sweeps, workers, workers.c.study_id == sweeps.c.study_id)
        query = query.where(workers.c.worker_id == worker_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise GoneError(f"no sweep has the study id {study_id} and worker {worker_id}")
    return order_of(row)


def tick(
    connection: Connection, study_id: int, longest: float, *, count: bool
) -> tuple[float, Order]:
    """Moves the sweep's wall clock to now; `count` the time since, unless a lease is shorter.

    The clock stands still while the sweep is paused.

    Returns:
        The clock in seconds, and the sweep's order.

    Raises:
        GoneError: no such sweep.
    """
    sweeps = schema.sweeps
    row = connection.execute(
        select(
            sweeps.c.elapsed_seconds,
            sweeps.c.elapsed_at,
            sweeps.c.control,
            sweeps.c.control_reason,
            sweeps.c.control_at,
            utc_now().label("now"),
        )
        .where(sweeps.c.study_id == study_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise GoneError(f"no sweep has the study id {study_id}")
    elapsed: float = row.elapsed_seconds or 0.0
    if count and row.elapsed_at is not None and row.control != "pause":
        since = (row.now - row.elapsed_at).total_seconds()
        elapsed += since if 0 < since <= longest else 0.0
    connection.execute(
        update(sweeps)
        .where(sweeps.c.study_id == study_id)
        .values(elapsed_seconds=elapsed, elapsed_at=max(row.now, row.elapsed_at or row.now))
    )
    return elapsed, order_of(row)


def give_order(connection: Connection, study_id: int, order: Order) -> Order:
    """Writes the order of a locked sweep, from now on; returns it as it stands."""
    _set(
        connection,
        study_id,
        control=order.control,
        control_reason=order.reason,
        control_at=utc_now(),
    )
    return read_order(connection, study_id)


def begin(connection: Connection, study_id: int) -> None:
    """Says that the workers of a locked sweep begin now: see `sweeps.started_at`."""
    _set(connection, study_id, started_at=utc_now())


def set_status(connection: Connection, study_id: int, status: Status) -> None:
    """Writes where a locked sweep stands."""
    _set(connection, study_id, status=status, updated_at=utc_now())


def _set(connection: Connection, study_id: int, **values: Any) -> None:
    sweeps = schema.sweeps
    connection.execute(update(sweeps).where(sweeps.c.study_id == study_id).values(**values))


def order_of(row: Any) -> Order:
    """The order in a row with the `control` columns of `sweeps`."""
    return Order(row.control, row.control_reason, row.control_at)
