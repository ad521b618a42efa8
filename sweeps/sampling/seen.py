"""What the trials of a study have shown, in arrays: what TPE reads, brought up to date by change.

A row is a trial, at its number. One look costs a comparison of each trial with the object that was
there before, and work for those that are others.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from itertools import compress, count

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.sampling.base import diverged
from sweeps.sampling.parzen import Array
from sweeps.unit_cube import Numeric, places

MOST_BEST = 25
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Seen:
    """The trials of one study over one space, n rows; nothing in it but what the trials say."""

    _space: dict[str, BaseDistribution]
    _trials: list[FrozenTrial]
    running: Flags
    ended: Flags
    diverged: Flags
    _ranks: Array  # [n, 2]
    _points: Array  # [n, d]; 0 where the trial does not have the dimension
    _has: Flags  # [n, d]

    def __init__(self) -> None:
        self._forget({})

    def update(self, trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]) -> bool:
        """Read the trials that are not the objects of before; True: finished ones are among them.

        A trial that is the same object has not changed.
        """
        before = self._trials
        if space != self._space or len(trials) < len(before):
            self._forget(space)
            before = []
        late = range(len(before), len(trials))
        changed = [*compress(count(), map(operator.is_not, trials, before)), *late]
        if not changed:
            return False
        self._grow(len(trials))
        was = self.ended[changed].any()
        chosen = [trials[row] for row in changed]
        self.running[changed] = [trial.state == TrialState.RUNNING for trial in chosen]
        self.ended[changed] = [trial.state in ENDED for trial in chosen]
        self.diverged[changed] = [diverged(trial) for trial in chosen]
        self._ranks[changed] = [_rank(trial) for trial in chosen]
        self._place(changed, chosen)
        self._trials = list(trials)
        return bool(was or self.ended[changed].any())

    def split(self, direction: StudyDirection) -> tuple[Rows, Rows]:
        """Return the rows of the best tenth of the finished, 25 at most, and of the others.

        A complete trial is better than any pruned one, and of these the one that went farther. A
        diverged one is never among the best.
        """
        finished = np.flatnonzero(self.ended)
        feasible = finished[~self.diverged[finished]]
        steps, values = self._ranks[feasible].T
        if direction == StudyDirection.MAXIMIZE:
            values = -values
        values = np.where(np.isnan(values), np.inf, values)
        most = min(math.ceil(0.1 * len(finished)), MOST_BEST)
        best = np.sort(feasible[np.lexsort((values, steps))[:most]])
        return best, np.setdiff1d(finished, best, assume_unique=True)

    def having(self, rows: Rows, names: Sequence[str]) -> Rows:
        """Return those of the rows whose trials have all of these dimensions."""
        return rows[self._has[np.ix_(rows, self._columns(names))].all(axis=1)]

    def points(self, rows: Rows, names: Sequence[str]) -> Array:
        """Return the places of trials in the unit cube, [len(rows), len(names)]."""
        return self._points[np.ix_(rows, self._columns(names))]

    def _columns(self, names: Sequence[str]) -> Rows:
        known = list(self._space)
        return np.array([known.index(name) for name in names])

    def _forget(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = dict(space)
        self._trials = []
        self.running, self.ended, self.diverged = (np.zeros(0, bool) for _ in range(3))
        self._ranks = np.zeros((0, 2))
        self._points, self._has = np.zeros((0, len(space))), np.zeros((0, len(space)), bool)

    def _grow(self, n: int) -> None:
        more = n - len(self.ended)
        if more > 0:
            for name in ("running", "ended", "diverged", "_ranks", "_points", "_has"):
                old = getattr(self, name)
                new = np.zeros((more, *old.shape[1:]), old.dtype)
                setattr(self, name, np.concatenate([old, new]))

    def _place(self, rows: Sequence[int], trials: Sequence[FrozenTrial]) -> None:
        params = [trial.params for trial in trials]
        for i, (name, dimension) in enumerate(self._space.items()):
            having = [j for j, own in enumerate(params) if name in own]
            self._has[rows, i] = False
            if having:
                found = places(dimension, [params[j][name] for j in having])
                if isinstance(dimension, Numeric):  # one that was put in by hand may lie outside
                    found = found.clip(0.0, 1.0)
                chosen = [rows[j] for j in having]
                self._has[chosen, i], self._points[chosen, i] = True, found


def _rank(trial: FrozenTrial) -> tuple[float, float]:
    """Return what orders trials, of which the lower are better where low values are."""
    if trial.state == TrialState.COMPLETE:
        return -math.inf, trial.values[0]
    if not trial.intermediate_values:
        return math.inf, 0.0
    step, value = max(trial.intermediate_values.items())
    return -step, value
