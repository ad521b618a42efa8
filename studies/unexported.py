"""What a tracking store lacks: trials whose run is not closed, with their new points."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from studies import rows, schema, tables
from studies.exports import Export
from studies.lookup import find_study
from studies.retrying import retried
from studies.rows import Curves, TrialRow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.sql import FromClause

    from studies.exports import Target
    from studies.lookup import Study


@dataclass(frozen=True)
class Pending:
    """A trial that may have something new for its run."""

    trial: TrialRow
    export: Export | None  # None: never exported
    curves: Curves  # points after `last_step`, and every test metric


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


@retried
def count(target: Target) -> int:
    """The number of trials whose run is not closed."""
    source, is_open = _open(target, tables.trials)
    query = select(func.count()).select_from(source).where(is_open)
    with target.storage.engine.connect() as connection:
        return connection.scalar(query) or 0


def _open(target: Target, source: FromClause) -> tuple[FromClause, ColumnElement[bool]]:
    """`source` with the store's rows, and the condition of a trial that is not closed there."""
    trials, exports = tables.trials, schema.exports
    same = and_(
        exports.c.trial_id == trials.c.trial_id, exports.c.tracking_uri == target.tracking_uri
    )
    is_open = and_(
        trials.c.study_id == target.study_id,
        or_(exports.c.closed.is_(False), exports.c.export_id.is_(None)),
        or_(trials.c.datetime_start.is_not(None), exports.c.run_id != ""),
    )
    return source.outerjoin(exports, same), is_open


def _open_trials(
    connection: Connection, target: Target, after: int, limit: int
) -> list[tuple[TrialRow, Export | None]]:
    trials, exports = tables.trials, schema.exports
    columns, heads = rows.heads()
    source, is_open = _open(target, heads)
    query = (
        select(*columns, exports.c.run_id, exports.c.last_step)
        .select_from(source)
        .where(is_open, trials.c.trial_id > after)
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
