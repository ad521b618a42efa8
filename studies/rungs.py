"""Pruners that decide from sorted columns of values instead of scanning every trial.

Optuna's pruners go through all trials of the study at each decision. Here the values that a
decision compares (those at a rung, at a step) stand in sorted columns, which one look at the study
brings up to date for all decisions that follow. A decision is then a few comparisons.

Each pruner decides as Optuna's of the same kind does, and asks for the same system attributes to
be written, so that a process with Optuna's own pruner on the same study agrees with it.
"""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner, HyperbandPruner
from optuna.study import StudyDirection
from optuna.trial import TrialState

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_RUNG = "completed_rung_"
_COMPLETE = "complete"  # a column with one cell for each complete trial

Cells = Mapping[Hashable, float]  # column -> value; no NaN, which has no place in an order


@dataclass(frozen=True)
class Verdict:
    """What a pruner says of one trial."""

    prune: bool
    attrs: Mapping[str, float] = field(default_factory=dict)  # system attributes to be written


class SortedColumns:
    """What the trials of a study have in each column, sorted. A trial's place is its number."""

    def __init__(self) -> None:
        self._seen: list[FrozenTrial | None] = []
        self._rows: dict[int, dict[Hashable, float]] = {}
        self._columns: dict[Hashable, list[float]] = {}

    def update(self, trials: Sequence[FrozenTrial], cells: Callable[[FrozenTrial], Cells]) -> None:
        """Takes the cells of trials that are not the objects that were seen before."""
        for place in range(len(trials), len(self._seen)):  # they are another study's
            self._drop(place)
        del self._seen[len(trials) :]
        changed = [*compress(count(), map(operator.is_not, trials, self._seen))]
        for place in changed:
            self._drop(place)
        unsorted: set[Hashable] = set()
        for place in [*changed, *range(len(self._seen), len(trials))]:
            row = dict(cells(trials[place]))
            if row:
                self._rows[place] = row
            for name, value in row.items():
                self._columns.setdefault(name, []).append(value)
            unsorted.update(row)
        for name in unsorted:
            self._columns[name].sort()
        self._seen = list(trials)

    def put(self, place: int, name: Hashable, value: float) -> None:
        """Adds a cell before it is seen in the trial: the next `update` reads the trial anew."""
        insort(self._columns.setdefault(name, []), value)
        self._rows.setdefault(place, {})[name] = value
        self._seen[place] = None

    def column(self, name: Hashable) -> Sequence[float]:
        """The values of a column, ascending."""
        return self._columns.get(name, ())

    def _drop(self, place: int) -> None:
        for name, value in self._rows.pop(place, {}).items():
            column = self._columns[name]
            del column[bisect_left(column, value)]


class BatchPruner(BasePruner):
    """A pruner that decides about many trials after one look at the study."""

    def __init__(self) -> None:
        self._columns = SortedColumns()

    def judge(
        self, study: Study, trials: Sequence[FrozenTrial], judged: Sequence[FrozenTrial]
    ) -> list[Verdict]:
        """Decides about some trials, one after the other; the caller writes the attributes.

        Args:
            study: the study.
            trials: all its trials, by number, `judged` with their reports among them.
            judged: the trials to decide about.
        """
        self._columns.update(trials, lambda trial: self._cells(study, trial))
        return [self._judge(study, trial) for trial in judged]

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Decides about one trial, as Optuna asks, and writes its attributes."""
        (verdict,) = self.judge(study, study.get_trials(deepcopy=False), [trial])
        for key, value in verdict.attrs.items():
            study._storage.set_trial_system_attr(trial._trial_id, key, value)
        return verdict.prune

    @abstractmethod
    def _cells(self, study: Study, trial: FrozenTrial) -> Cells:
        """What a trial has in which column."""

    @abstractmethod
    def _judge(self, study: Study, trial: FrozenTrial) -> Verdict:
        """Decides by the columns, which hold every trial's cells."""


class AshaPruner(BatchPruner):
    """Asynchronous successive halving, as `optuna.pruners.SuccessiveHalvingPruner` decides it.

    Rung k is step `min_resource * reduction_factor**k`. At each rung that it passes a trial goes on
    if it is among the best floor(n / reduction_factor) of the n values there, its own included, or
    is the best of too few.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934,
    algorithm 2, with Optuna's deviation that a trial which is not promoted ends.
    """

    def __init__(self, min_resource: int, reduction_factor: int) -> None:
        super().__init__()
        if min_resource < 1 or reduction_factor < 2:
            raise ValueError(
                f"min_resource is {min_resource} and reduction_factor {reduction_factor}; "
                "give at least 1 and 2"
            )
        self._first, self._factor = min_resource, reduction_factor

    def _bracket(self, study: Study, trial: FrozenTrial) -> int:
        return 0

    def _cells(self, study: Study, trial: FrozenTrial) -> Cells:
        rungs = {k: v for k, v in trial.system_attrs.items() if k.startswith(_RUNG) and v == v}
        if not rungs:
            return {}
        bracket = self._bracket(study, trial)
        return {(bracket, key): value for key, value in rungs.items()}

    def _judge(self, study: Study, trial: FrozenTrial) -> Verdict:
        step = trial.last_step
        if step is None:
            return Verdict(prune=False)
        value = trial.intermediate_values[step]
        bracket = self._bracket(study, trial)
        rung = 0
        while f"{_RUNG}{rung}" in trial.system_attrs:
            rung += 1
        passed: dict[str, float] = {}
        while step >= self._first * self._factor ** (bracket + rung):
            if math.isnan(value):
                return Verdict(True, passed)
            key = f"{_RUNG}{rung}"
            passed[key] = value
            self._columns.put(trial.number, (bracket, key), value)
            column = self._columns.column((bracket, key))
            if worse(value, column, max(len(column) // self._factor, 1) - 1, study.direction):
                return Verdict(True, passed)
            rung += 1
        return Verdict(False, passed)


class BracketPruner(AshaPruner, HyperbandPruner):
    """Hyperband's brackets of successive halving, as `optuna.pruners.HyperbandPruner` decides.

    It is one of Optuna's, since `TPESampler` learns from the trials of a bracket alone where the
    study's pruner is.

    Source: Li et al., arXiv:1603.06560; which bracket a trial is in is Optuna's choice.
    """

    def __init__(self, min_resource: int, max_resource: int, reduction_factor: int) -> None:
        AshaPruner.__init__(self, min_resource, reduction_factor)
        HyperbandPruner.__init__(self, min_resource, max_resource, reduction_factor)

    def judge(
        self, study: Study, trials: Sequence[FrozenTrial], judged: Sequence[FrozenTrial]
    ) -> list[Verdict]:
        if not self._pruners:
            self._try_initialization(study)
        return super().judge(study, trials, judged)

    def _bracket(self, study: Study, trial: FrozenTrial) -> int:
        return self._get_bracket_id(study, trial)


class QuantilePruner(BatchPruner):
    """Stops what is worse than a percentile, as `optuna.pruners.PercentilePruner` decides it.

    A trial's best value so far is compared with the complete trials' values at its last step.
    Nothing is stopped before `startup_trials` are complete, nor before step `warmup_steps`. At 50
    it is Optuna's `MedianPruner`.
    """

    def __init__(self, percentile: float, startup_trials: int, warmup_steps: int) -> None:
        super().__init__()
        self._percentile = percentile
        self._startup_trials, self._warmup_steps = startup_trials, warmup_steps

    def _cells(self, study: Study, trial: FrozenTrial) -> Cells:
        if trial.state != TrialState.COMPLETE:
            return {}
        return {_COMPLETE: 0.0, **{s: v for s, v in trial.intermediate_values.items() if v == v}}

    def _judge(self, study: Study, trial: FrozenTrial) -> Verdict:
        step = trial.last_step
        complete = len(self._columns.column(_COMPLETE))
        if complete < max(self._startup_trials, 1) or step is None or step < self._warmup_steps:
            return Verdict(prune=False)
        values = [value for value in trial.intermediate_values.values() if value == value]
        if not values:
            return Verdict(prune=True)
        maximize = study.direction == StudyDirection.MAXIMIZE
        percentile = 100 - self._percentile if maximize else self._percentile
        threshold = quantile(self._columns.column(step), percentile / 100)
        return Verdict(max(values) < threshold if maximize else min(values) > threshold)


def worse(value: float, column: Sequence[float], place: int, direction: StudyDirection) -> bool:
    """Whether a value is worse than the one at a place of a column, counted from its best."""
    if direction == StudyDirection.MAXIMIZE:
        return value < column[-1 - place]
    return value > column[place]


def quantile(column: Sequence[float], q: float) -> float:
    """`numpy.quantile` of sorted values, to the last bit; NaN of none."""
    if not column:
        return math.nan
    place = (len(column) - 1) * q
    low = min(int(place), len(column) - 1)
    a, b = column[low], column[min(low + 1, len(column) - 1)]
    part = place - low
    # numpy.lib._function_base_impl._lerp
    return b - (b - a) * (1 - part) if part >= 0.5 else a + (b - a) * part
