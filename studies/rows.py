"""The reads that `studies.queries` is made of: one statement each, on a connection."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import json_to_distribution
from optuna.trial import TrialState
from sqlalchemy import Connection, Table, and_, case, func, literal, select

from studies import schema, tables
from studies.lookup import Study

if TYPE_CHECKING:
    from datetime import datetime

    from optuna.distributions import BaseDistribution
    from sqlalchemy import ColumnElement
    from sqlalchemy.sql import FromClause

Curves = dict[str, list[tuple[int, float]]]  # name -> (step, value), ascending by step

_OUTCOMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.FAIL: "failed",
}
_RANKS = ("complete", "pruned", "running", "waiting", "diverged", "failed", "cancelled")
_ATTRS = (
    *("config", "epochs", "seconds", "device_seconds", "peak_memory"),
    *("origin", "reason", "seed", "diverged_step", "last_value", "last_epoch", "retry_of"),
    "folder",
)


@dataclass(frozen=True)
class TrialRow:
    """One trial of a leaderboard. Times are naive UTC."""

    number: int
    trial_id: int
    state: str  # Optuna's: "COMPLETE", "PRUNED", "RUNNING", "WAITING" or "FAIL"
    outcome: str  # "running", "waiting", or how it ended
    value: float | None  # of the first objective
    started: datetime | None
    completed: datetime | None
    params: Mapping[str, Any] = field(default_factory=dict)  # sampled, by their key in the study
    config: Mapping[str, Any] | None = None  # the effective configuration, `Config.to_json`
    epochs: int | None = None  # trained, or reported so far
    seconds: float | None = None  # of training
    device_seconds: float | None = None  # its share of the device's
    peak_memory: int | None = None  # bytes on the device; None on a CPU
    origin: str | None = None  # "baseline", "enqueued" or "sampled"
    reason: str | None = None
    seed: int | None = None
    diverged_step: int | None = None
    retry_of: int | None = None  # number of the trial that it trains once more
    folder: str | None = None  # of a script's output, where it ran
    last_value: float | None = None  # of a diverged trial: the last finite objective,
    last_epoch: int | None = None  # and its epoch
    test: Mapping[str, float] = field(default_factory=dict)  # "test/..." at its last step


def as_number(value: ColumnElement[Any], kind: ColumnElement[Any]) -> ColumnElement[Any]:
    """A stored objective value as a number, infinities included."""
    return case(
        (kind == tables.ValueType.INF_POS, literal(math.inf)),
        (kind == tables.ValueType.INF_NEG, literal(-math.inf)),
        else_=value,
    )


def with_attr(trials: FromClause, name: str) -> tuple[FromClause, ColumnElement[Any]]:
    """`trials` joined with one user attribute, and that attribute's JSON text (or NULL)."""
    attr = tables.user_attrs.alias(name)
    same = and_(attr.c.trial_id == tables.trials.c.trial_id, attr.c.key == name)
    return trials.outerjoin(attr, same), attr.c.value_json


def outcome_of(state: TrialState, outcome: str | None) -> str:
    """The outcome of a trial: its attribute (JSON text), or by its state."""
    if outcome is None or not state.is_finished():
        return _OUTCOMES[state]
    return str(json.loads(outcome))


def heads() -> tuple[tuple[ColumnElement[Any], ...], FromClause]:
    """The columns that `head` reads, and the tables that they come from."""
    trials, values = tables.trials, tables.values
    first = and_(values.c.trial_id == trials.c.trial_id, values.c.objective == 0)
    source, outcome = with_attr(trials.outerjoin(values, first), "outcome")
    columns = (
        trials.c.number,
        trials.c.trial_id,
        trials.c.state,
        trials.c.datetime_start,
        trials.c.datetime_complete,
        as_number(values.c.value, values.c.value_type).label("value"),
        outcome.label("outcome"),
    )
    return columns, source


def head(row: Any) -> TrialRow:
    """A trial without its details, from a row with the columns of `heads`."""
    return TrialRow(
        number=row.number,
        trial_id=row.trial_id,
        state=row.state.name,
        outcome=outcome_of(row.state, row.outcome),
        value=row.value,
        started=row.datetime_start,
        completed=row.datetime_complete,
    )


def ranked(connection: Connection, study: Study, number: int | None = None) -> list[TrialRow]:
    """The trials of a study (or the one with `number`), best first, without their details."""
    trials = tables.trials
    columns, source = heads()
    query = select(*columns).select_from(source).where(trials.c.study_id == study.study_id)
    if number is not None:
        query = query.where(trials.c.number == number)
    found = [head(row) for row in connection.execute(query)]
    sign = -1.0 if study.direction == "maximize" else 1.0
    return sorted(found, key=lambda row: _rank(row, sign))


def _rank(row: TrialRow, sign: float) -> tuple[int, bool, float, int]:
    rank = _RANKS.index(row.outcome) if row.outcome in _RANKS else len(_RANKS)
    value = 0.0 if row.value is None else sign * row.value
    return rank, row.value is None, value, row.number


def fill(
    connection: Connection, study: Study, found: Sequence[TrialRow], *, every: bool
) -> list[TrialRow]:
    """The rows with parameters, attributes and test metrics; `every`: all the study's trials."""
    trials = tables.trials
    chosen = trials.c.study_id == study.study_id
    if not every:
        chosen = and_(chosen, trials.c.trial_id.in_([row.trial_id for row in found]))
    params = _params(connection, chosen)
    attrs = _attrs(connection, chosen)
    steps = _last_steps(connection, chosen)
    tests = _tests(connection, chosen)
    return [
        replace(
            row,
            params=params.get(row.trial_id, {}),
            test=tests.get(row.trial_id, {}),
            **{"epochs": steps.get(row.trial_id), **attrs.get(row.trial_id, {})},
        )
        for row in found
    ]


def _params(connection: Connection, chosen: ColumnElement[bool]) -> dict[int, dict[str, Any]]:
    trials, params = tables.trials, tables.params
    query = (
        select(
            params.c.trial_id,
            params.c.param_name,
            params.c.param_value,
            params.c.distribution_json,
        )
        .join_from(params, trials, params.c.trial_id == trials.c.trial_id)
        .where(chosen)
        .order_by(params.c.param_id)
    )
    distributions: dict[str, BaseDistribution] = {}
    found: dict[int, dict[str, Any]] = {}
    for trial_id, name, value, text in connection.execute(query):
        if text not in distributions:
            distributions[text] = json_to_distribution(text)
        found.setdefault(trial_id, {})[name] = distributions[text].to_external_repr(value)
    return found


def _attrs(connection: Connection, chosen: ColumnElement[bool]) -> dict[int, dict[str, Any]]:
    trials, attrs = tables.trials, tables.user_attrs
    query = (
        select(attrs.c.trial_id, attrs.c.key, attrs.c.value_json)
        .join_from(attrs, trials, attrs.c.trial_id == trials.c.trial_id)
        .where(chosen, attrs.c.key.in_(_ATTRS))
    )
    found: dict[int, dict[str, Any]] = {}
    for trial_id, key, text in connection.execute(query):
        found.setdefault(trial_id, {})[key] = json.loads(text)
    return found


def _last_steps(connection: Connection, chosen: ColumnElement[bool]) -> dict[int, int]:
    trials, intermediates = tables.trials, tables.intermediates
    query = (
        select(intermediates.c.trial_id, func.max(intermediates.c.step).label("step"))
        .join_from(intermediates, trials, intermediates.c.trial_id == trials.c.trial_id)
        .where(chosen)
        .group_by(intermediates.c.trial_id)
    )
    return {row.trial_id: row.step for row in connection.execute(query)}


def _tests(connection: Connection, chosen: ColumnElement[bool]) -> dict[int, dict[str, float]]:
    trials, points = tables.trials, schema.points
    query = (
        select(points.c.trial_id, points.c.name, points.c.value)
        .join_from(points, trials, points.c.trial_id == trials.c.trial_id)
        .where(chosen, points.c.name.startswith("test/", autoescape=True))
        .order_by(points.c.step, points.c.name)
    )
    found: dict[int, dict[str, float]] = {}
    for trial_id, name, value in connection.execute(query):
        found.setdefault(trial_id, {})[name] = math.nan if value is None else value
    return found


def attrs(connection: Connection, table: Table, trial_id: int) -> dict[str, Any]:
    """Every user (or system) attribute of one trial."""
    query = select(table.c.key, table.c.value_json).where(table.c.trial_id == trial_id)
    return {key: json.loads(text) for key, text in connection.execute(query)}


def curves(
    connection: Connection, study: Study, numbers: Collection[int] | None
) -> dict[int, Curves]:
    """The objective and the points of the trials, by number, name and step."""
    trials, points, values = tables.trials, schema.points, tables.intermediates
    chosen = trials.c.study_id == study.study_id
    if numbers is not None:
        chosen = and_(chosen, trials.c.number.in_(numbers))
    objective = (
        select(
            trials.c.number,
            values.c.step,
            values.c.intermediate_value,
            values.c.intermediate_value_type,
        )
        .join_from(values, trials, values.c.trial_id == trials.c.trial_id)
        .where(chosen)
        .order_by(trials.c.number, values.c.step)
    )
    others = (
        select(trials.c.number, points.c.name, points.c.step, points.c.value)
        .join_from(points, trials, points.c.trial_id == trials.c.trial_id)
        .where(chosen)
        .order_by(trials.c.number, points.c.name, points.c.step)
    )
    found: dict[int, Curves] = {}
    for number, step, value, kind in connection.execute(objective):
        curve = found.setdefault(number, {}).setdefault(study.metric, [])
        curve.append((step, tables.read_intermediate(value, kind)))
    for number, name, step, value in connection.execute(others):
        curve = found.setdefault(number, {}).setdefault(name, [])
        curve.append((step, math.nan if value is None else value))
    return found
