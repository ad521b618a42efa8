"""Named reads of the study DB, each a fixed number of statements whatever the number of trials.

A plain Optuna study (one without a row in `sweeps`) reads as well: a trial's outcome is then its
state, its objective is called "objective". Times are naive UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import Double, Row, cast, func, select

from studies import rows, schema, tables
from studies.errors import UserError
from studies.lookup import Study, find_study, list_studies
from studies.retrying import retried
from studies.roster import Worker, held_by, living
from studies.rows import Curves, TrialRow
from studies.standing import Order

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from studies.schema import Control
    from studies.storage import StudyStorage


@dataclass(frozen=True)
class TrialDetail:
    """One trial with all that is known of it."""

    row: TrialRow
    curves: Curves
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any]


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands."""

    study_id: int
    name: str
    status: str | None  # of the sweep; None: a plain Optuna study
    direction: str  # "minimize" or "maximize", of the first objective
    metric: str
    trials: int
    outcomes: Mapping[str, int]  # finished trials by outcome
    running: int
    waiting: int
    best: tuple[int, float] | None  # number and value, of the complete trials
    started: datetime | None  # the first trial's start
    last_activity: datetime | None  # a trial's start or end, or a live worker's heartbeat
    seconds: float  # of training, summed over trials
    workers: Sequence[Worker]  # those that live, the oldest first
    holding: Mapping[int, Sequence[int]]  # numbers of the RUNNING trials by worker, dead ones too
    order: Order | None  # what the workers are to do; None: a plain Optuna study


@dataclass(frozen=True)
class StudySummary:
    """One line of the list of studies."""

    study_id: int
    name: str
    status: str | None
    direction: str
    trials: int
    complete: int
    pruned: int
    failed: int
    running: int
    waiting: int
    control: Control | None
    best: float | None  # of the complete trials
    last_activity: datetime | None


@retried
def leaderboard(storage: StudyStorage, study_name: str, top: int | None = None) -> list[TrialRow]:
    """The trials, best first: complete, pruned, running, waiting, diverged, failed, cancelled.

    Within an outcome by value, in the study's direction; then by number.

    Raises:
        UserError: no such study.
    """
    with storage.engine.connect() as connection:
        study = find_study(connection, study_name)
        ranked = rows.ranked(connection, study)[:top]
        return rows.fill(connection, study, ranked, every=top is None)


@retried
def trial(storage: StudyStorage, study_name: str, number: int) -> TrialDetail:
    """One trial, with its curves and attributes.

    Raises:
        UserError: no such study or trial.
    """
    with storage.engine.connect() as connection:
        study = find_study(connection, study_name)
        found = rows.ranked(connection, study, number)
        if not found:
            raise UserError(
                f"study '{study_name}' has no trial {number}. "
                f"See `sweeps status {quote(study_name)}` for those it has."
            )
        (row,) = rows.fill(connection, study, found, every=False)
        return TrialDetail(
            row=row,
            curves=rows.curves(connection, study, {row.number}).get(row.number, {}),
            user_attrs=rows.attrs(connection, tables.user_attrs, row.trial_id),
            system_attrs=rows.attrs(connection, tables.system_attrs, row.trial_id),
        )


@retried
def curves(
    storage: StudyStorage, study_name: str, numbers: Collection[int] | None = None
) -> dict[int, Curves]:
    """Every metric of the trials (all of them, or those given) by step, ascending.

    The objective is there under its metric's name. NaN and infinities are floats.

    Returns:
        `{number: {"valid/loss": [(1, 0.52), ...]}}`; a trial without a point is left out.

    Raises:
        UserError: no such study.
    """
    with storage.engine.connect() as connection:
        return rows.curves(connection, find_study(connection, study_name), numbers)


@retried
def status(storage: StudyStorage, study_name: str) -> StudyStatus:
    """Counts, the best so far, times and the live workers of a study.

    Raises:
        UserError: no such study.
    """
    with storage.engine.connect() as connection:
        study = find_study(connection, study_name)
        groups = _groups(connection, study)
        best = _best(connection, study)
        holding = held_by(connection, study.study_id)
        workers = living(connection, study.study_id)
    moments = [group.latest for group in groups] + [each.heartbeat for each in workers]
    return StudyStatus(
        study_id=study.study_id,
        name=study.name,
        status=study.status,
        direction=study.direction,
        metric=study.metric,
        trials=sum(group.trials for group in groups),
        outcomes=_outcomes(groups),
        running=sum(group.trials for group in groups if group.state == TrialState.RUNNING),
        waiting=sum(group.trials for group in groups if group.state == TrialState.WAITING),
        best=best,
        started=min((group.started for group in groups if group.started), default=None),
        last_activity=max((moment for moment in moments if moment), default=None),
        seconds=sum(group.seconds or 0.0 for group in groups),
        workers=workers,
        holding=holding,
        order=study.order,
    )


@retried
def trained_by(storage: StudyStorage, study_id: int) -> dict[int, str]:
    """Who trains each RUNNING trial that has a lease, by the trial's number: `host:pid`."""
    leases, workers, trials = schema.leases.c, schema.workers.c, tables.trials.c
    query = (
        select(trials.number, workers.host, workers.pid)
        .select_from(tables.trials)
        .join(schema.leases, leases.trial_id == trials.trial_id)
        .join(schema.workers, workers.worker_id == leases.worker_id)
        .where(
            workers.study_id == study_id,
            trials.state == TrialState.RUNNING,
            leases.expires_at.is_not(None),
        )
    )
    with storage.engine.connect() as connection:
        return {row.number: f"{row.host}:{row.pid}" for row in connection.execute(query)}


@retried
def studies(storage: StudyStorage) -> list[StudySummary]:
    """Every study of the database with its counts, the oldest first."""
    trials = tables.trials
    with storage.engine.connect() as connection:
        found = list_studies(connection)
        groups = connection.execute(
            select(
                trials.c.study_id,
                trials.c.state,
                func.count().label("trials"),
                _latest(),
            ).group_by(trials.c.study_id, trials.c.state)
        ).all()
        extremes = _extremes(connection)
    summaries = []
    for study in found:
        mine = [group for group in groups if group.study_id == study.study_id]
        counts = {group.state: group.trials for group in mine}
        summaries.append(
            StudySummary(
                study_id=study.study_id,
                name=study.name,
                status=study.status,
                direction=study.direction,
                trials=sum(counts.values()),
                complete=counts.get(TrialState.COMPLETE, 0),
                pruned=counts.get(TrialState.PRUNED, 0),
                failed=counts.get(TrialState.FAIL, 0),
                running=counts.get(TrialState.RUNNING, 0),
                waiting=counts.get(TrialState.WAITING, 0),
                control=None if study.order is None else study.order.control,
                best=extremes.get((study.study_id, study.direction)),
                last_activity=max((group.latest for group in mine if group.latest), default=None),
            )
        )
    return summaries


def _extremes(connection: Connection) -> dict[tuple[int, str], float]:
    trials, values = tables.trials, tables.values
    number = rows.as_number(values.c.value, values.c.value_type)
    query = (
        select(trials.c.study_id, func.min(number).label("low"), func.max(number).label("high"))
        .join_from(trials, values, values.c.trial_id == trials.c.trial_id)
        .where(trials.c.state == TrialState.COMPLETE, values.c.objective == 0)
        .group_by(trials.c.study_id)
    )
    found: dict[tuple[int, str], float] = {}
    for row in connection.execute(query):
        found[row.study_id, "minimize"] = row.low
        found[row.study_id, "maximize"] = row.high
    return found


def _latest() -> ColumnElement[Any]:
    trials = tables.trials
    moment = func.coalesce(trials.c.datetime_complete, trials.c.datetime_start)
    return func.max(moment).label("latest")


def _groups(connection: Connection, study: Study) -> Sequence[Row[Any]]:
    trials = tables.trials
    source, outcome = rows.with_attr(trials, "outcome")
    source, seconds = rows.with_attr(source, "seconds")
    query = (
        select(
            trials.c.state,
            outcome.label("outcome"),
            func.count().label("trials"),
            func.min(trials.c.datetime_start).label("started"),
            _latest(),
            func.sum(cast(seconds, Double)).label("seconds"),
        )
        .select_from(source)
        .where(trials.c.study_id == study.study_id)
        .group_by(trials.c.state, outcome)
    )
    return connection.execute(query).all()


def _outcomes(groups: Sequence[Row[Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in groups:
        if group.state.is_finished():
            name = rows.outcome_of(group.state, group.outcome)
            found[name] = found.get(name, 0) + group.trials
    return found


def _best(connection: Connection, study: Study) -> tuple[int, float] | None:
    trials, values = tables.trials, tables.values
    value = rows.as_number(values.c.value, values.c.value_type)
    query = (
        select(trials.c.number, value)
        .join_from(values, trials, values.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study.study_id,
            trials.c.state == TrialState.COMPLETE,
            values.c.objective == 0,
        )
        .order_by(value.desc() if study.direction == "maximize" else value, trials.c.number)
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else (found[0], found[1])
