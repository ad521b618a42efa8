"""Writes of many trials at once, each call one transaction on Optuna's tables and ours.

A trial that is not RUNNING (finished, handed back, deleted) is refused: nothing of it is written,
its id is returned, and the other trials of the call are written as usual.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from studies import schema, tables
from studies.database import writing

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine


@dataclass(frozen=True)
class Report:
    """One evaluation of one trial."""

    trial_id: int
    step: int  # epoch, from 1
    objective: float | None  # Optuna's intermediate value; None: not evaluated at this step
    values: Mapping[str, float] = field(default_factory=dict)  # every other metric: `points`


@dataclass(frozen=True)
class Finish:
    """How a trial ended."""

    trial_id: int
    state: TrialState  # COMPLETE, PRUNED or FAIL
    values: Sequence[float] | None = None  # one an objective; COMPLETE needs them
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)


def report(engine: Engine, points: Sequence[Report]) -> set[int]:
    """Writes evaluations; a step that is there already is overwritten.

    Returns:
        The ids of the trials that were refused, since they are not RUNNING.
    """
    with writing(engine).begin() as connection:
        running = _lock_running(connection, {point.trial_id for point in points})
        kept = [point for point in points if point.trial_id in running]
        _upsert(connection, tables.intermediates, ("trial_id", "step"), _intermediates(kept))
        _upsert(connection, schema.points, ("trial_id", "name", "step"), _points(kept))
    return {point.trial_id for point in points} - running


def finish(engine: Engine, outcomes: Sequence[Finish]) -> set[int]:
    """Sets attributes, values and state of trials, once.

    Returns:
        The ids of the trials that were refused, since they are not RUNNING.

    Raises:
        ValueError: the state is not a finished one, COMPLETE without values, a value that is NaN.
    """
    for outcome in outcomes:
        _check(outcome)
    with writing(engine).begin() as connection:
        running = _lock_running(connection, {outcome.trial_id for outcome in outcomes})
        kept = [outcome for outcome in outcomes if outcome.trial_id in running]
        _upsert(connection, tables.user_attrs, ("trial_id", "key"), _attrs(kept, "user_attrs"))
        _upsert(connection, tables.system_attrs, ("trial_id", "key"), _attrs(kept, "system_attrs"))
        _upsert(connection, tables.values, ("trial_id", "objective"), _values(kept))
        _set_states(connection, kept)
    return {outcome.trial_id for outcome in outcomes} - running


def hand_back(engine: Engine, study_id: int, trial_ids: Collection[int] | None) -> list[int]:
    """RUNNING trials of a study (all of them, or those given) become WAITING, as if never begun.

    Parameters, user attributes and the number stay; the curve and the rungs reached are deleted. A
    trial without the user attribute `config` was still being drawn: its parameters go too, so that
    it is drawn anew as a whole, and to the same values by a sampler that is seeded by its number.

    Returns:
        The numbers of the trials that were handed back, ascending.
    """
    trials = tables.trials
    chosen = trials.c.study_id == study_id
    if trial_ids is not None:
        chosen = chosen & trials.c.trial_id.in_(trial_ids)
    with writing(engine).begin() as connection:
        numbers = _lock(connection, chosen & (trials.c.state == TrialState.RUNNING))
        ids = list(numbers)
        rungs = tables.system_attrs.c.key.startswith("completed_rung_", autoescape=True)
        connection.execute(_delete_of(tables.intermediates, ids))
        connection.execute(_delete_of(schema.points, ids))
        connection.execute(_delete_of(tables.system_attrs, ids).where(rungs))
        drawn = select(tables.user_attrs.c.trial_id).where(tables.user_attrs.c.key == "config")
        params = _delete_of(tables.params, ids)
        connection.execute(params.where(tables.params.c.trial_id.not_in(drawn)))
        connection.execute(
            update(trials)
            .where(trials.c.trial_id.in_(ids))
            .values(state=TrialState.WAITING, datetime_start=None)
        )
    return sorted(numbers.values())


def _lock_running(connection: Connection, trial_ids: Collection[int]) -> set[int]:
    trials = tables.trials
    running = trials.c.trial_id.in_(trial_ids) & (trials.c.state == TrialState.RUNNING)
    return set(_lock(connection, running))


def _lock(connection: Connection, condition: ColumnElement[bool]) -> dict[int, int]:
    # One order for everybody, so that two processes never wait for each other's rows. SQLite has
    # no row locks; there BEGIN IMMEDIATE holds the whole database.
    trials = tables.trials
    rows = connection.execute(
        select(trials.c.trial_id, trials.c.number)
        .where(condition)
        .order_by(trials.c.trial_id)
        .with_for_update()
    )
    return {row.trial_id: row.number for row in rows}


def _upsert(
    connection: Connection, table: Table, key: Sequence[str], rows: list[dict[str, Any]]
) -> None:
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table)
    changed = {name: insert.excluded[name] for name in rows[0] if name not in key}
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_=changed), rows)


def _delete_of(table: Table, trial_ids: Sequence[int]) -> Any:
    return delete(table).where(table.c.trial_id.in_(trial_ids))


def _intermediates(points: Sequence[Report]) -> list[dict[str, Any]]:
    rows = []
    for point in points:
        if point.objective is not None:
            value, kind = tables.stored_intermediate(float(point.objective))
            rows.append(
                {
                    "trial_id": point.trial_id,
                    "step": point.step,
                    "intermediate_value": value,
                    "intermediate_value_type": kind,
                }
            )
    return rows


def _points(points: Sequence[Report]) -> list[dict[str, Any]]:
    return [
        {
            "trial_id": point.trial_id,
            "name": name,
            "step": point.step,
            "value": None if math.isnan(value) else float(value),
        }
        for point in points
        for name, value in point.values.items()
    ]


def _attrs(outcomes: Sequence[Finish], kind: str) -> list[dict[str, Any]]:
    return [
        {"trial_id": outcome.trial_id, "key": key, "value_json": json.dumps(value)}
        for outcome in outcomes
        for key, value in getattr(outcome, kind).items()
    ]


def _values(outcomes: Sequence[Finish]) -> list[dict[str, Any]]:
    rows = []
    for outcome in outcomes:
        for objective, number in enumerate(outcome.values or ()):
            value, kind = tables.stored_value(float(number))
            rows.append(
                {
                    "trial_id": outcome.trial_id,
                    "objective": objective,
                    "value": value,
                    "value_type": kind,
                }
            )
    return rows


def _set_states(connection: Connection, outcomes: Sequence[Finish]) -> None:
    if not outcomes:
        return
    trials = tables.trials
    now = datetime.now(UTC).replace(tzinfo=None)
    connection.execute(
        update(trials)
        .where(trials.c.trial_id == bindparam("finished"))
        .values(state=bindparam("outcome"), datetime_complete=now),
        [{"finished": outcome.trial_id, "outcome": outcome.state} for outcome in outcomes],
    )


def _check(outcome: Finish) -> None:
    where = f"trial {outcome.trial_id}"
    if not outcome.state.is_finished():
        raise ValueError(f"{where}: state is {outcome.state.name}, not COMPLETE, PRUNED or FAIL")
    if outcome.state == TrialState.COMPLETE and not outcome.values:
        raise ValueError(f"{where}: COMPLETE needs values, and there are none")
    if any(math.isnan(value) for value in outcome.values or ()):
        raise ValueError(f"{where}: values hold NaN, which no order can rank")
