"""TPE whose fit is shared by the asks of a refill, and which keeps off what diverged.

The space falls into groups: the dimensions that are always there, and those of each optimizer,
schedule and average. In each group l is the density of the best tenth of the finished trials (25
at most) that have its dimensions and g that of the others; of 24 draws of l the one with the
highest expected improvement, as l / g says, is taken. This is Optuna's multivariate, grouped TPE.

What is different: g and l are fitted once for all asks that see the same finished trials, and a
running trial only adds its kernel to g, so that asks of one refill keep apart. And a diverged trial
is never among the best, and only draws are taken that are likely to train; if none is, the
improvement is multiplied by the probability that they do. Without this the ratio is highest just
beyond an edge that has good trials before it: l reaches over, and g is small where few trials are.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011, eq. 4 (improvement);
Gardner et al., "Bayesian Optimization with Inequality Constraints", 2014 (the product);
`sweeps.sampling.feasibility`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.sampling.base import SpaceSampler, diverged, value_at
from sweeps.sampling.feasibility import Feasibility
from sweeps.sampling.parzen import Array, Density
from sweeps.unit_cube import Numeric, from_unit, places

if TYPE_CHECKING:
    from sweeps.space import Space

STARTUP = 10  # finished trials before the first that is not random
CANDIDATES = 24
MOST_BEST = 25
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class TpeSampler(SpaceSampler):
    """TPE over the groups of a space; one object serves the asks of a refill."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self._seen: list[FrozenTrial] = []  # as far as the last finished one
        self._open: list[FrozenTrial] = []  # of these, the others
        self._finished = 0
        self._best: list[FrozenTrial] = []
        self._others: list[FrozenTrial] = []
        self._fits: dict[tuple[str, ...], Fit] = {}

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        rng = self.rng(trial)
        running = [
            other
            for other in self._see(study, study.get_trials(deepcopy=False))
            if other.state == TrialState.RUNNING and other.number != trial.number
        ]
        drawn: dict[str, Any] = {}
        for group in self.groups(search_space, drawn):
            if self._finished < STARTUP:
                drawn |= {name: from_unit(d, rng.random()) for name, d in group.items()}
                continue
            key = tuple(group)
            if key not in self._fits:
                self._fits[key] = Fit(group, self._best, self._others)
            drawn |= self._fits[key].draw(rng, running)
        return drawn

    def _see(self, study: optuna.Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the open trials; split the finished ones anew if they are not those of before."""
        n = len(self._seen)
        late = trials[n:]
        if trials[:n] != self._seen or any(trial.state.is_finished() for trial in late):
            n = max((t.number + 1 for t in trials if t.state.is_finished()), default=0)
            self._seen, late = trials[:n], trials[n:]
            self._open = [trial for trial in self._seen if not trial.state.is_finished()]
            finished = [trial for trial in self._seen if trial.state in ENDED]
            self._finished, self._fits = len(finished), {}
            self._best, self._others = split(finished, study.direction)
        return self._open + late


def split(
    finished: Sequence[FrozenTrial], direction: StudyDirection
) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Return the best tenth, 25 at most, and the others, both by number.

    A complete trial is better than any pruned one, and of these the one that went farther.
    """
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0

    def rank(trial: FrozenTrial) -> tuple[float, float]:
        if trial.state == TrialState.COMPLETE:
            return -math.inf, sign * trial.values[0]
        if not trial.intermediate_values:
            return math.inf, 0.0
        step, value = max(trial.intermediate_values.items())
        return -step, math.inf if math.isnan(value) else sign * value

    count = min(math.ceil(0.1 * len(finished)), MOST_BEST)
    feasible = [trial for trial in finished if not diverged(trial)]
    best = heapq.nsmallest(count, feasible, key=rank)
    chosen = {trial.number for trial in best}
    return (
        [trial for trial in finished if trial.number in chosen],
        [trial for trial in finished if trial.number not in chosen],
    )


class Fit:
    """l, g and the feasibility over one group of dimensions."""

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        best: Sequence[FrozenTrial],
        others: Sequence[FrozenTrial],
    ) -> None:
        self._space = space
        dimensions = list(space.values())
        self._share = len(best) / max(1, len(best) + len(others))
        best, others = self._with(best), self._with(others)
        points = self._points(others)
        self._best = Density(dimensions, self._points(best))
        self._others = Density(dimensions, points)
        self._feasibility = None
        gone = np.array([diverged(trial) for trial in others], float)
        if gone.any():
            every = np.vstack([self._points(best), points])
            gone = np.append(np.zeros(len(best)), gone)
            self._feasibility = Feasibility(dimensions, every, gone)

    def draw(self, rng: np.random.Generator, running: Sequence[FrozenTrial]) -> dict[str, Any]:
        """Return values for the group's dimensions."""
        x = np.unique(self._best.sample(rng, CANDIDATES), axis=0)
        log_ratio = self._others.log_pdf(x, self._points(self._with(running)))
        log_ratio -= self._best.log_pdf(x)
        with np.errstate(divide="ignore"):  # no trial is among the best: a share of 0
            score = -np.logaddexp(np.log(self._share), np.log1p(-self._share) + log_ratio)
        if self._feasibility is not None:
            allowed = self._feasibility.allowed(x)
            if allowed.any():
                score[~allowed] = -np.inf
            else:
                score += self._feasibility.log_probability(x)
        chosen = x[score.argmax()]
        return {
            name: value_at(dimension, place)
            for (name, dimension), place in zip(self._space.items(), chosen, strict=True)
        }

    def _with(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if trial.params.keys() >= self._space.keys()]

    def _points(self, trials: Sequence[FrozenTrial]) -> Array:
        columns = [
            _places(dimension, [trial.params[name] for trial in trials])
            for name, dimension in self._space.items()
        ]
        return np.stack(columns, axis=1)


def _places(dimension: BaseDistribution, values: Sequence[Any]) -> Array:
    found = places(dimension, values)
    # a trial that was put in by hand may lie outside
    return found.clip(0.0, 1.0) if isinstance(dimension, Numeric) else found
