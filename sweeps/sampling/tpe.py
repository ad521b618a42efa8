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

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from sweeps.sampling.base import SpaceSampler, value_at
from sweeps.sampling.feasibility import Feasibility
from sweeps.sampling.parzen import Array, Density
from sweeps.sampling.seen import Rows, Seen
from sweeps.unit_cube import from_unit

if TYPE_CHECKING:
    from sweeps.space import Space

STARTUP = 10  # finished trials before the first that is not random
CANDIDATES = 24


class TpeSampler(SpaceSampler):
    """TPE over the groups of a space; one object serves the asks of a refill.

    `seen` may have been another refill's: it holds what the trials say, so that only those that
    changed since are read.
    """

    def __init__(self, space: Space, seed: int, seen: Seen | None = None) -> None:
        super().__init__(space, seed)
        self._seen = seen or Seen()
        self._split: tuple[Rows, Rows] | None = None
        self._fits: dict[tuple[str, ...], Fit] = {}

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        rng, seen = self.rng(trial), self._seen
        changed = seen.update(study.get_trials(deepcopy=False), search_space)
        if changed or self._split is None:
            self._split, self._fits = seen.split(study.direction), {}
        best, others = self._split
        running = np.flatnonzero(seen.running)
        running = running[running != trial.number]
        drawn: dict[str, Any] = {}
        for group in self.groups(search_space, drawn):
            if len(best) + len(others) < STARTUP:
                drawn |= {name: from_unit(d, rng.random()) for name, d in group.items()}
                continue
            key = tuple(group)
            if key not in self._fits:
                self._fits[key] = Fit(group, seen, best, others)
            drawn |= self._fits[key].draw(rng, seen.points(seen.having(running, key), key))
        return drawn


class Fit:
    """l, g and the feasibility over one group of dimensions."""

    def __init__(
        self, space: Mapping[str, BaseDistribution], seen: Seen, best: Rows, others: Rows
    ) -> None:
        self._space = space
        dimensions, names = list(space.values()), list(space)
        self._share = len(best) / max(1, len(best) + len(others))
        best, others = seen.having(best, names), seen.having(others, names)
        inside, points = seen.points(best, names), seen.points(others, names)
        self._best = Density(dimensions, inside)
        self._others = Density(dimensions, points)
        self._feasibility = None
        gone = seen.diverged[others].astype(float)
        if gone.any():
            every = np.vstack([inside, points])
            gone = np.append(np.zeros(len(best)), gone)
            self._feasibility = Feasibility(dimensions, every, gone)

    def draw(self, rng: np.random.Generator, running: Array) -> dict[str, Any]:
        """Return values for the group's dimensions; `running` trials have the places [m, d]."""
        x = np.unique(self._best.sample(rng, CANDIDATES), axis=0)
        log_ratio = self._others.log_pdf(x, running)
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
