"""The `sweeps` row of a study: what was asked for, where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optuna.study import StudyDirection
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from studies import schema, tables
from studies.database import shown, writing
from studies.errors import UserError
from studies.retrying import retried, transaction
from studies.schema import Status, utc_now

if TYPE_CHECKING:
    from studies.storage import StudyStorage


@dataclass(frozen=True)
class SweepRecord:
    """What is written when a sweep is created; only the sweep file's text may change."""

    spec_text: str  # the sweep file as the user wrote it
    spec_file: str | None
    spec: Mapping[str, Any]  # resolved, JSON-able
    space: Mapping[str, Any]  # the space's signature, JSON-able
    seed: int
    environment: Mapping[str, Any]  # python, package versions, device
    git_commit: str | None = None
    git_dirty: bool | None = None


@dataclass(frozen=True)
class Sweep:
    """A study with its sweep. Times are naive UTC."""

    study_id: int
    name: str
    record: SweepRecord
    status: Status
    created_at: datetime
    updated_at: datetime


def create_sweep(
    storage: StudyStorage, name: str, directions: Sequence[str], record: SweepRecord
) -> int:
    """Creates a study and its sweep in one transaction, status `new`.

    Args:
        storage: the study DB.
        name: the study's, unique in it.
        directions: "minimize" or "maximize", one an objective.
        record: what was asked for.

    Returns:
        The study's id.

    Raises:
        UserError: a study of that name exists.
    """

    def create(connection: Connection) -> int:
        study_id = _insert_study(connection, name, directions)
        now = {"created_at": utc_now(), "updated_at": utc_now()}
        row = insert(schema.sweeps).values(study_id=study_id, status="new", **now, **asdict(record))
        connection.execute(row)
        return study_id

    def created(connection: Connection, study_id: int) -> bool:
        mine = (tables.studies.c.study_id == study_id) & (tables.studies.c.study_name == name)
        return connection.scalar(select(tables.studies.c.study_id).where(mine)) is not None

    try:
        return transaction(storage.engine, create, created)
    except IntegrityError as error:
        raise UserError(
            f"a study '{name}' exists already in {shown(storage.url)}. Give another --name."
        ) from error


def _insert_study(connection: Connection, name: str, directions: Sequence[str]) -> int:
    study_id: int = connection.execute(
        insert(tables.studies).values(study_name=name).returning(tables.studies.c.study_id)
    ).scalar_one()
    rows = [
        {
            "study_id": study_id,
            "objective": objective,
            "direction": StudyDirection[direction.upper()],
        }
        for objective, direction in enumerate(directions)
    ]
    connection.execute(insert(tables.directions), rows)
    return study_id


@retried
def get_sweep(storage: StudyStorage, name: str) -> Sweep | None:
    """The sweep of the study `name`; None when there is no such study, or a plain Optuna one."""
    query = _sweeps().where(tables.studies.c.study_name == name)
    with storage.engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _sweep(row)


@retried
def set_spec(storage: StudyStorage, study_id: int, record: SweepRecord) -> None:
    """Writes the sweep file as it reads now: it means the same, but its budget may be another.

    Raises:
        KeyError: no such sweep.
    """
    with writing(storage.engine).begin() as connection:
        changed = connection.execute(
            update(schema.sweeps)
            .where(schema.sweeps.c.study_id == study_id)
            .values(spec_text=record.spec_text, spec_file=record.spec_file, spec=record.spec)
        )
    if changed.rowcount == 0:
        raise KeyError(f"no sweep has the study id {study_id}")


def _sweeps() -> Any:
    return select(schema.sweeps, tables.studies.c.study_name).join_from(
        schema.sweeps, tables.studies, schema.sweeps.c.study_id == tables.studies.c.study_id
    )


def _sweep(row: Row[Any]) -> Sweep:
    record = SweepRecord(
        spec_text=row.spec_text,
        spec_file=row.spec_file,
        spec=row.spec,
        space=row.space,
        seed=row.seed,
        environment=row.environment,
        git_commit=row.git_commit,
        git_dirty=row.git_dirty,
    )
    return Sweep(
        study_id=row.study_id,
        name=row.study_name,
        record=record,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
