"""The `exports` table: which MLflow run each trial has in one tracking store, and how far it is.

A row goes through these states; each change is one statement, so that a process killed between
two of them leaves something the next one can go on from:

    run_id ''     begin            a run is about to be made (or was made, and its id was lost)
    run_id set    assign, advance  the run exists; points up to `last_step` are in it
    closed        advance          it has its final status; no later pass looks at it
    run_id ''     reset, forget    the trial started anew, or the store has lost the run

The parent run has no trial: its `last_step` counts finished trials, and -1 means that the child
runs may still point to another parent.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from studies import rows, schema, tables
from studies.database import writing
from studies.lookup import find_study
from studies.retrying import retried
from studies.rows import Curves, TrialRow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine

    from studies.lookup import Study
    from studies.storage import StudyStorage

PARENT_UNLINKED = -1


@dataclass(frozen=True)
class Export:
    """One row."""

    run_id: str  # '': intent only
    last_step: int
    closed: bool


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
class Pending:
    """A trial that may have something new for its run."""

    trial: TrialRow
    export: Export | None  # None: never exported
    curves: Curves  # points after `last_step`, and every test metric


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
    """Writes the intent to make runs; returns those of the ids whose row is new."""
    engine = writing(target.storage.engine)
    dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
    query = (
        dialect.insert(schema.exports).on_conflict_do_nothing().returning(schema.exports.c.trial_id)
    )
    new: set[int | None] = set()
    with engine.begin() as connection:
        for trial_id in trial_ids:
            row = {
                "study_id": target.study_id,
                "trial_id": trial_id,
                "tracking_uri": target.tracking_uri,
                "run_id": "",
                "last_step": PARENT_UNLINKED if trial_id is None else 0,
                "closed": False,
            }
            if connection.execute(query, row).one_or_none() is not None:
                new.add(trial_id)
    return new


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


@retried
def pending(target: Target, study_name: str, *, after: int, limit: int) -> list[Pending]:
    """The trials whose run is not closed, by id: up to `limit`, those with an id above `after`.

    Trials that wait are there only when they have a run or a curve. States are read before points,
    so a trial read as finished has all of its points here.
    """
    with target.storage.engine.connect() as connection:
        study = find_study(connection, study_name)
        found = _open_trials(connection, target, after, limit)
        trials = rows.fill(connection, study, [trial for trial, _ in found], every=False)
        curves = _new_points(connection, target, study, [trial.trial_id for trial in trials])
    return [
        Pending(trial, export, curves.get(trial.trial_id, {}))
        for trial, (_, export) in zip(trials, found, strict=True)
    ]


def _open_trials(
    connection: Connection, target: Target, after: int, limit: int
) -> list[tuple[TrialRow, Export | None]]:
    trials, exports = tables.trials, schema.exports
    columns, source = rows.heads()
    same = and_(
        exports.c.trial_id == trials.c.trial_id, exports.c.tracking_uri == target.tracking_uri
    )
    query = (
        select(*columns, exports.c.run_id, exports.c.last_step)
        .select_from(source.outerjoin(exports, same))
        .where(
            trials.c.study_id == target.study_id,
            trials.c.trial_id > after,
            or_(exports.c.closed.is_(False), exports.c.export_id.is_(None)),
            or_(trials.c.datetime_start.is_not(None), exports.c.run_id != ""),
        )
        .order_by(trials.c.trial_id)
        .limit(limit)
    )
    return [
        (
            rows.head(row),
            None if row.run_id is None else Export(row.run_id, row.last_step, closed=False),
        )
        for row in connection.execute(query)
    ]


def _new_points(
    connection: Connection, target: Target, study: Study, trial_ids: Collection[int]
) -> dict[int, Curves]:
    points, values, exports = schema.points, tables.intermediates, schema.exports
    found: dict[int, Curves] = {}

    def add(trial_id: int, name: str, step: int, value: float) -> None:
        found.setdefault(trial_id, {}).setdefault(name, []).append((step, value))

    def same(table: ColumnElement[int]) -> ColumnElement[bool]:
        return and_(exports.c.trial_id == table, exports.c.tracking_uri == target.tracking_uri)

    unseen = exports.c.export_id.is_(None)
    objective = (
        select(
            values.c.trial_id,
            values.c.step,
            values.c.intermediate_value,
            values.c.intermediate_value_type,
        )
        .select_from(values.outerjoin(exports, same(values.c.trial_id)))
        .where(values.c.trial_id.in_(trial_ids))
        .where(or_(unseen, values.c.step > exports.c.last_step))
        .order_by(values.c.trial_id, values.c.step)
    )
    for trial_id, step, value, kind in connection.execute(objective):
        add(trial_id, study.metric, step, tables.read_intermediate(value, kind))
    tests = points.c.name.startswith("test/", autoescape=True)  # written after their epoch
    others = (
        select(points.c.trial_id, points.c.name, points.c.step, points.c.value)
        .select_from(points.outerjoin(exports, same(points.c.trial_id)))
        .where(points.c.trial_id.in_(trial_ids))
        .where(or_(unseen, points.c.step > exports.c.last_step, tests))
        .order_by(points.c.trial_id, points.c.name, points.c.step)
    )
    for trial_id, name, step, value in connection.execute(others):
        add(trial_id, name, step, math.nan if value is None else value)
    return found
