"""Writes of many trials at once, each call one transaction on Optuna's tables and ours.

A trial that is not RUNNING (finished, handed back, deleted) is refused: nothing of it is written,
its id is returned, and the other trials of the call are written as usual. With a `Fence`, so is a
trial whose lease is not the caller's any more: another worker has taken it over.

Each call is made again while the database is lost (`studies.retrying`), and says the same whether
its first COMMIT had arrived or not.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import distribution_to_json
from optuna.trial import TrialState
from sqlalchemy import Connection, update

from studies import schema, tables
from studies.bulk import Target, among, upsert
from studies.fences import (
    Fence,
    end_leases,
    ended_under,
    lock,
    lock_running,
    release_trials,
    rewind,
)
from studies.guarded import upsert_running
from studies.retrying import transaction

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy import Engine

INTERMEDIATES = Target(
    tables.intermediates,
    ("trial_id", "step"),
    ("intermediate_value", "intermediate_value_type"),
)
POINTS = Target(schema.points, ("trial_id", "name", "step"), ("value",))
PARAMS = Target(tables.params, ("trial_id", "param_name"), ("param_value", "distribution_json"))
VALUES = Target(tables.values, ("trial_id", "objective"), ("value", "value_type"))
USER_ATTRS = Target(tables.user_attrs, ("trial_id", "key"), ("value_json",))
SYSTEM_ATTRS = Target(tables.system_attrs, ("trial_id", "key"), ("value_json",))


_Row = TypeVar("_Row", "Report", "Drawn", "Finish")


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


@dataclass(frozen=True)
class Drawn:
    """What was sampled for one trial; parameters as Optuna stores them.

    `rewind`: a trial that was begun before goes on after this step; what it has beyond it is
    deleted (0: everything).
    """

    trial_id: int
    params: Mapping[str, tuple[float, BaseDistribution]]
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    rewind: int | None = None


def report(engine: Engine, points: Sequence[Report], fence: Fence | None = None) -> set[int]:
    """Writes evaluations; a step that is there already is overwritten.

    Returns:
        The ids of the trials that were refused.
    """

    def parts(kept: Sequence[Report]) -> list[tuple[Target, list[tuple[Any, ...]]]]:
        return [(INTERMEDIATES, _intermediates(kept)), (POINTS, _points(kept))]

    def write(connection: Connection, kept: Sequence[Report]) -> None:
        for target, rows in parts(kept):
            upsert(connection, target, rows)

    def body(connection: Connection) -> set[int]:
        if connection.dialect.name == "sqlite":
            return _to_running(connection, points, fence, write)
        ids = {point.trial_id for point in points}
        return ids - upsert_running(connection, ids, fence, parts(points))

    return transaction(engine, body, single=True)


def draw(engine: Engine, drawn: Sequence[Drawn], fence: Fence | None = None) -> set[int]:
    """Writes parameters and attributes of trials that were sampled, and rewinds trials.

    Returns:
        The ids of the trials that were refused.
    """

    def write(connection: Connection, kept: Sequence[Drawn]) -> None:
        for each in kept:
            if each.rewind is not None:
                rewind(connection, each.trial_id, each.rewind)
        upsert(connection, PARAMS, _params(kept))
        _write_attrs(connection, kept)

    return transaction(engine, lambda connection: _to_running(connection, drawn, fence, write))


def finish(engine: Engine, outcomes: Sequence[Finish], fence: Fence | None = None) -> set[int]:
    """Sets attributes, values and state of trials, once and durably; their leases end.

    Returns:
        The ids of the trials that were refused.

    Raises:
        ValueError: the state is not a finished one, COMPLETE without values, a value that is NaN.
    """
    for outcome in outcomes:
        _check(outcome)

    def write(connection: Connection, kept: Sequence[Finish]) -> None:
        _write_attrs(connection, kept)
        upsert(connection, VALUES, _values(kept))
        _set_states(connection, kept)
        end_leases(connection, [outcome.trial_id for outcome in kept])

    def written(connection: Connection, refused: set[int]) -> bool:
        kept = {o.trial_id: o.state for o in outcomes if o.trial_id not in refused}
        return bool(ended_under(connection, kept, fence))

    def body(connection: Connection) -> set[int]:
        return _to_running(connection, outcomes, fence, write)

    return transaction(engine, body, written, durable=True)


def _to_running(
    connection: Connection,
    rows: Sequence[_Row],
    fence: Fence | None,
    write: Callable[[Connection, Sequence[_Row]], None],
) -> set[int]:
    """Writes the rows of trials that run and that the caller holds; the ids of the others."""
    ids = {row.trial_id for row in rows}
    running = lock_running(connection, ids, fence)
    write(connection, [row for row in rows if row.trial_id in running])
    return ids - running


def _write_attrs(connection: Connection, rows: Sequence[Finish | Drawn]) -> None:
    upsert(connection, USER_ATTRS, _attrs(rows, "user_attrs"))
    upsert(connection, SYSTEM_ATTRS, _attrs(rows, "system_attrs"))


def hand_back(
    engine: Engine,
    study_id: int,
    trial_ids: Collection[int],
    fence: Fence | None = None,
) -> list[int]:
    """Those of the trials of a study that are RUNNING become WAITING.

    Number, configuration and curve stay; whoever takes one goes on from its checkpoint, or rewinds
    it (`Drawn.rewind`). One that was still being drawn is as if never begun.

    Returns:
        The numbers of the trials that were handed back, ascending.
    """
    trials = tables.trials
    chosen = (trials.c.study_id == study_id) & among(trials.c.trial_id, list(trial_ids))

    def release(connection: Connection) -> dict[int, int]:
        numbers = lock(connection, chosen & (trials.c.state == TrialState.RUNNING))
        kept = lock_running(connection, numbers, fence)
        release_trials(connection, list(kept))
        return {trial_id: number for trial_id, number in numbers.items() if trial_id in kept}

    def released(connection: Connection, numbers: dict[int, int]) -> bool:
        return bool(ended_under(connection, dict.fromkeys(numbers, TrialState.WAITING), fence))

    return sorted(transaction(engine, release, released).values())


def fail(connection: Connection, ids: Sequence[int], **said: str) -> None:
    """Ends locked trials that their workers did not end: FAIL, with `said` as user attributes."""
    attrs = [(id_, key, json.dumps(value)) for id_ in ids for key, value in said.items()]
    upsert(connection, USER_ATTRS, attrs)
    ended = {"state": TrialState.FAIL, "datetime_complete": tables.now()}
    trials = tables.trials
    connection.execute(update(trials).where(among(trials.c.trial_id, ids)).values(**ended))
    end_leases(connection, ids)


def _intermediates(points: Sequence[Report]) -> list[tuple[Any, ...]]:
    rows = []
    for point in points:
        if point.objective is not None:
            value, kind = tables.stored_intermediate(float(point.objective))
            rows.append((point.trial_id, point.step, value, kind.name))
    return rows


def _points(points: Sequence[Report]) -> list[tuple[Any, ...]]:
    return [
        (point.trial_id, name, point.step, None if math.isnan(value) else float(value))
        for point in points
        for name, value in point.values.items()
    ]


def _params(drawn: Sequence[Drawn]) -> list[tuple[Any, ...]]:
    return [
        (each.trial_id, name, float(value), distribution_to_json(distribution))
        for each in drawn
        for name, (value, distribution) in each.params.items()
    ]


def _attrs(outcomes: Sequence[Finish | Drawn], kind: str) -> list[tuple[Any, ...]]:
    return [
        (outcome.trial_id, key, json.dumps(value))
        for outcome in outcomes
        for key, value in getattr(outcome, kind).items()
    ]


def _values(outcomes: Sequence[Finish]) -> list[tuple[Any, ...]]:
    rows = []
    for outcome in outcomes:
        for objective, number in enumerate(outcome.values or ()):
            value, kind = tables.stored_value(float(number))
            rows.append((outcome.trial_id, objective, value, kind.name))
    return rows


def _set_states(connection: Connection, outcomes: Sequence[Finish]) -> None:
    trials, ids = tables.trials, defaultdict(list)
    for outcome in outcomes:
        ids[outcome.state].append(outcome.trial_id)
    for state, ended in ids.items():
        connection.execute(
            update(trials)
            .where(among(trials.c.trial_id, ended))
            .values(state=state, datetime_complete=tables.now())
        )


def _check(outcome: Finish) -> None:
    where = f"trial {outcome.trial_id}"
    if not outcome.state.is_finished():
        raise ValueError(f"{where}: state is {outcome.state.name}, not COMPLETE, PRUNED or FAIL")
    if outcome.state == TrialState.COMPLETE and not outcome.values:
        raise ValueError(f"{where}: COMPLETE needs values, and there are none")
    if any(math.isnan(value) for value in outcome.values or ()):
        raise ValueError(f"{where}: values hold NaN, which no order can rank")
