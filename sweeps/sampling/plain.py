"""Samplers that learn nothing: random, QMC and grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from sweeps.outcomes import has_failed
from sweeps.sampling.base import SpaceSampler
from sweeps.unit_cube import from_unit

GRID_INDEX = "sweeplane:grid_index"
GRID_ATTEMPTS = 3


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


def free_points(size: int, trials: Sequence[FrozenTrial]) -> list[int]:
    """Return the grid points to run, in order; a failed one comes last, and again twice at most."""
    pairs = [(trial.system_attrs.get(GRID_INDEX), has_failed(trial)) for trial in trials]
    return free_of(size, [(index, failed) for index, failed in pairs if index is not None])


def free_of(size: int, taken: Sequence[tuple[int, bool]]) -> list[int]:
    """Return `free_points`, given the points that trials took and whether each has failed."""
    failures = [0] * size
    held = set()
    for index, failed in taken:
        if failed:
            failures[index] += 1
        else:
            held.add(index)
    free = [n for n in range(size) if n not in held and failures[n] < GRID_ATTEMPTS]
    return sorted(free, key=lambda n: (failures[n], n))
