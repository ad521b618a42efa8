"""Deletes whole studies, Optuna's rows and ours, in one transaction.

A single trial is never deleted: Optuna numbers trials by their count, so the next trial would get
a number that is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from studies import schema, tables
from studies.database import shown, writing
from studies.errors import SweeplaneError, UserError
from studies.lookup import find_study
from studies.reading import said
from studies.roster import held_studies, in_words, stop_first

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

    from studies.storage import StudyStorage


@dataclass(frozen=True)
class Extent:
    """What goes with a study: how many rows of each table that has some."""

    study_id: int
    name: str
    trials: int
    running: int
    rows: dict[str, int]


def extent(storage: StudyStorage, study_name: str) -> Extent:
    """What `delete_study` would delete.

    Raises:
        UserError: no such study, or a live worker has it.
    """
    with storage.engine.connect() as connection:
        return _extent(connection, study_name)


def delete_study(storage: StudyStorage, study_name: str) -> Extent:
    """Deletes a study with everything of it, and returns what that was.

    Raises:
        UserError: no such study, or a live worker has it; nothing is deleted.
        SweeplaneError: the database refused; nothing is deleted.
    """
    try:
        with writing(storage.engine).begin() as connection:
            found = _extent(connection, study_name, lock=True)
            for table, rows_of in reversed(_parts(found.study_id)):
                connection.execute(delete(table).where(rows_of))
    except DBAPIError as error:
        advice = "Mend that and delete it again."
        if isinstance(error, IntegrityError):
            advice = "A table that is neither Optuna's nor Sweeplane's refers to it: clear that."
        raise SweeplaneError(
            f"study '{study_name}' was not deleted from {shown(storage.url)}: "
            f"{said(error, storage.url)}. {advice}"
        ) from error
    return found


def _extent(connection: Connection, study_name: str, *, lock: bool = False) -> Extent:
    study = find_study(connection, study_name)
    if lock:
        _lock(connection, study.study_id)
    held = held_studies(connection, study.study_id)
    if held:
        raise UserError(
            f"{in_words(held)}. {stop_first(held)} (or sweeps cancel, which waits for no epoch)"
        )
    rows = {
        table.name: connection.scalar(select(func.count()).select_from(table).where(rows_of)) or 0
        for table, rows_of in _parts(study.study_id)
    }
    trials = tables.trials
    running = connection.scalar(
        select(func.count()).where(
            trials.c.study_id == study.study_id, trials.c.state == TrialState.RUNNING
        )
    )
    return Extent(
        study_id=study.study_id,
        name=study.name,
        trials=rows[trials.name],
        running=running or 0,
        rows={name: count for name, count in rows.items() if count},
    )


def _lock(connection: Connection, study_id: int) -> None:
    # New trials wait for the study's row, and then find no study.
    studies = tables.studies
    connection.execute(
        select(studies.c.study_id).where(studies.c.study_id == study_id).with_for_update()
    )


def _parts(study_id: int) -> list[tuple[Table, ColumnElement[bool]]]:
    """Every table with rows of studies, parents first, and which of its rows are this study's."""
    trials = select(tables.trials.c.trial_id).where(tables.trials.c.study_id == study_id)
    found = []
    for table in (*tables.studies.metadata.sorted_tables, *schema.metadata.sorted_tables):
        conditions: list[Any] = []
        if "study_id" in table.c:
            conditions.append(table.c.study_id == study_id)
        if "trial_id" in table.c and table is not tables.trials:
            conditions.append(table.c.trial_id.in_(trials))
        if conditions:
            found.append((table, or_(*conditions)))
    return found
