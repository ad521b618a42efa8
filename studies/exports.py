"""The `exports` table: which MLflow run each trial has in one tracking store, and how far it is.

A row goes through these states; each change is one statement, so that a process killed between
two of them leaves something the next one can go on from:

    run_id ''     begin            a run is about to be made (or was made, and its id was lost)
    run_id set    assign, settle   the run exists; points up to `last_step` are in it
    closed        advance, settle  it has its final status; no later pass looks at it
    run_id ''     reset, forget    the trial started anew, or the store has lost the run

The parent run has no trial: its `last_step` counts finished trials, and -1 means that the child
runs may still point to another parent. `assign` and `advance` write one row, `settle` those of
many trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from studies import schema
from studies.database import writing
from studies.retrying import retried

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine

    from studies.storage import StudyStorage

PARENT_UNLINKED = -1


@dataclass(frozen=True)
class Export:
    """One row."""

    run_id: str  # '': intent only
    last_step: int
    closed: bool


INTENT = Export("", 0, closed=False)  # of a trial


@dataclass(frozen=True)
class Target:
    """The rows of one study for one tracking store."""

    storage: StudyStorage
    study_id: int
    tracking_uri: str  # without a password

    @property
    def engine(self) -> Engine:
        return self.storage.engine

    def row(self, trial_id: int | None) -> ColumnElement[bool]:
        """The condition of one trial's row; None: the parent's."""
        table = schema.exports.c
        return and_(
            table.study_id == self.study_id,
            table.tracking_uri == self.tracking_uri,
            table.trial_id.is_(None) if trial_id is None else table.trial_id == trial_id,
        )


@dataclass(frozen=True)
class Step:
    """How far a trial's run is now."""

    trial_id: int
    before: str  # the run that the row had; '': an intent
    run_id: str
    last_step: int
    closed: bool


@retried
def read(target: Target, trial_id: int | None) -> Export | None:
    """One row; `trial_id` None: the parent's."""
    table = schema.exports.c
    query = select(table.run_id, table.last_step, table.closed).where(target.row(trial_id))
    with target.storage.engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else Export(row.run_id, row.last_step, row.closed)


@retried
def run_ids(target: Target) -> list[str]:
    """The run of every trial that has one, by trial."""
    table = schema.exports.c
    query = (
        select(table.run_id)
        .where(
            table.study_id == target.study_id,
            table.tracking_uri == target.tracking_uri,
            table.trial_id.is_not(None),
            table.run_id != "",
        )
        .order_by(table.trial_id)
    )
    with target.storage.engine.connect() as connection:
        return list(connection.scalars(query))


@retried
def begin(target: Target, trial_ids: Sequence[int | None]) -> set[int | None]:
    """Writes the intent to make runs; returns those of the ids whose row is new.

    An intent outlives a power cut, as the runs that follow do: without it, they would be made
    once more.
    """
    if not trial_ids:
        return set()
    engine = writing(target.storage.engine, durable=True)
    dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
    query = (
        dialect.insert(schema.exports).on_conflict_do_nothing().returning(schema.exports.c.trial_id)
    )
    intents = [
        {
            "study_id": target.study_id,
            "trial_id": trial_id,
            "tracking_uri": target.tracking_uri,
            "run_id": "",
            "last_step": PARENT_UNLINKED if trial_id is None else 0,
            "closed": False,
        }
        for trial_id in trial_ids
    ]
    with engine.begin() as connection:
        return set(connection.scalars(query, intents))


@retried
def assign(target: Target, trial_id: int | None, run_id: str) -> bool:
    """Stores the run of an intent; False when another process stored its own first."""
    query = (
        update(schema.exports)
        .where(target.row(trial_id), schema.exports.c.run_id.in_(["", run_id]))
        .values(run_id=run_id)
    )
    with writing(target.storage.engine).begin() as connection:
        return connection.execute(query).rowcount == 1


@retried
def advance(
    target: Target, trial_id: int | None, run_id: str, last_step: int, *, closed: bool
) -> None:
    """Notes how far the run is; does nothing when the row has another run by now."""
    query = (
        update(schema.exports)
        .where(target.row(trial_id), schema.exports.c.run_id == run_id)
        .values(last_step=last_step, closed=closed)
    )
    with writing(target.storage.engine).begin() as connection:
        connection.execute(query)


@retried
def settle(target: Target, steps: Sequence[Step]) -> set[int]:
    """Notes how far the runs of many trials are; returns the trials that have another run by now.

    Those rows stay as they are: another process stored its own run first, or has reset the row.
    """
    if not steps:
        return set()
    table = schema.exports.c
    mine = and_(table.study_id == target.study_id, table.tracking_uri == target.tracking_uri)
    change = (
        update(schema.exports)
        .where(mine, table.trial_id == bindparam("of"))
        .where(table.run_id.in_([bindparam("before"), bindparam("now")]))
        .values(run_id=bindparam("now"), last_step=bindparam("last"), closed=bindparam("ended"))
    )
    ids = [step.trial_id for step in steps]
    query = select(table.trial_id, table.run_id).where(mine, table.trial_id.in_(ids))
    with writing(target.storage.engine).begin() as connection:
        connection.execute(change, [_parameters(step) for step in steps])
        stored = {row.trial_id: row.run_id for row in connection.execute(query)}
    return {step.trial_id for step in steps if stored.get(step.trial_id) != step.run_id}


def _parameters(step: Step) -> dict[str, object]:
    return {
        "of": step.trial_id,
        "before": step.before,
        "now": step.run_id,
        "last": step.last_step,
        "ended": step.closed,
    }


@retried
def reset(target: Target, trial_id: int | None, run_id: str) -> None:
    """Makes the row an intent again, if it still has this run."""
    query = (
        update(schema.exports)
        .where(target.row(trial_id), schema.exports.c.run_id == run_id)
        .values(run_id="", last_step=PARENT_UNLINKED if trial_id is None else 0, closed=False)
    )
    with writing(target.storage.engine).begin() as connection:
        connection.execute(query)


@retried
def forget(target: Target) -> None:
    """Makes every row an intent again: the store has none of the runs."""
    table = schema.exports
    mine = and_(table.c.study_id == target.study_id, table.c.tracking_uri == target.tracking_uri)
    with writing(target.storage.engine).begin() as connection:
        for chosen, last_step in (
            (table.c.trial_id.is_(None), PARENT_UNLINKED),
            (table.c.trial_id.is_not(None), 0),
        ):
            connection.execute(
                update(table)
                .where(mine, chosen)
                .values(run_id="", last_step=last_step, closed=False)
            )
