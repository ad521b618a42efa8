"""Samplers that learn nothing: random, QMC and grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from sweeps.grid_points import GRID_INDEX, free_points
from sweeps.sampling.base import SpaceSampler
from sweeps.unit_cube import from_unit


class RandomSampler(SpaceSampler):
    """Every dimension uniform on its scale."""

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        rng = self.rng(trial)
        return {name: from_unit(d, rng.random()) for name, d in search_space.items()}


class QmcSampler(SpaceSampler):
    """Point number `trial.number` of a scrambled Sobol sequence over every dimension.

    Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998; scipy's generator.
    """

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol

        sequence = Sobol(d=len(search_space), scramble=True, rng=self._seed)
        if trial.number:
            sequence.fast_forward(trial.number)
        point = sequence.random(1)[0]
        return {
            name: from_unit(distribution, float(u))
            for (name, distribution), u in zip(search_space.items(), point, strict=True)
        }


class GridSampler(SpaceSampler):
    """The point that the trial got when it was claimed, else the first that no trial holds."""

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        points = self._space.grid()
        index = trial.system_attrs.get(GRID_INDEX)
        if index is None:
            free = free_points(len(points), study.get_trials(deepcopy=False))
            if not free:
                raise LookupError(f"all {len(points)} points of the grid have their trial")
            index = free[0]
        study._storage.set_trial_system_attr(trial._trial_id, GRID_INDEX, index)
        return points[index]
