"""`method:` of a sweep file -> the Optuna sampler that proposes trials.

Every sampler here is made anew for each ask, seeded by (sweep seed, trial number), and reads all
that it knows from the study. So the same file gives the same trials, also when the sweep was
killed and started again in between; and nothing but JSON is ever stored.

    tpe      Optuna's, multivariate within each sub-space of the conditional space
    random   Optuna's
    qmc      scrambled Sobol points; the trial's number is the point's index
    grid     the points of the grid in their order; each trial stores its index
    gp       Optuna's Gaussian process with log expected improvement, one a branch
    cmaes    CMA-ES, one a branch

A branch is one choice of optimizer, schedule and average: within it every dimension is there, which
is what a Gaussian process and CMA-ES need. They draw the branch, and CMA-ES all other categorical
values, at random. Both ignore pruned trials, so a diverged one is shown to them with the worst
value seen in its branch.
"""

from __future__ import annotations

import logging
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.cma import Told, propose
from sweeps.outcomes import is_cancelled
from sweeps.unit_cube import from_unit

if TYPE_CHECKING:
    from sweeps.space import Space


GRID_INDEX = "sweeplane:grid_index"
GRID_ATTEMPTS = 3
CMA_STATE = "sweeplane:cma"


def make_sampler(method: str, space: Space, seed: int, number: int) -> BaseSampler:
    """Return the sampler for trial `number` of a sweep with `seed`."""
    own = (seed * 1_000_003 + number) % (2**32)
    factories: Mapping[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: _tpe(own),
        "random": lambda: RandomSampler(seed=own),
        "qmc": lambda: QmcSampler(space, seed),
        "grid": lambda: GridSampler(space),
        "gp": lambda: GpSampler(space, own),
        "cmaes": lambda: CmaEsSampler(space, own),
    }
    return factories[method]()


def _tpe(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True)


class _SpaceSampler(BaseSampler):
    """Proposes values for the whole space at once."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space.flat()

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise LookupError(f"{type(self).__name__} proposed no value for {param_name}")


class QmcSampler(_SpaceSampler):
    """Point number `trial.number` of a scrambled Sobol sequence over every dimension.

    Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998; scipy's generator.
    """

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space)
        self._seed = seed

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol

        if not search_space:
            return {}
        sequence = Sobol(d=len(search_space), scramble=True, rng=self._seed)
        if trial.number:
            sequence.fast_forward(trial.number)
        point = sequence.random(1)[0]
        return {
            name: from_unit(distribution, float(u))
            for (name, distribution), u in zip(search_space.items(), point, strict=True)
        }


class GridSampler(_SpaceSampler):
    """The point that the trial got when it was claimed, else the first that no trial holds."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
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
    # The point of a cancelled trial is not trained again.
    pairs = [
        (t.system_attrs.get(GRID_INDEX), TrialState.PRUNED if is_cancelled(t) else t.state)
        for t in trials
    ]
    return free_of(size, [(index, state) for index, state in pairs if index is not None])


def free_of(size: int, taken: Sequence[tuple[int, TrialState]]) -> list[int]:
    """Return `free_points`, given the points that trials took and the states of these trials."""
    failures = [0] * size
    held = set()
    for index, state in taken:
        if state == TrialState.FAIL:
            failures[index] += 1
        else:
            held.add(index)
    free = [n for n in range(size) if n not in held and failures[n] < GRID_ATTEMPTS]
    return sorted(free, key=lambda n: (failures[n], n))


class _BranchSampler(_SpaceSampler):
    """Draws the branch at random, then asks `_propose` for the values within it."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space)
        import numpy as np

        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        choices = {name: self._draw(search_space[name]) for name in self._space.branching}
        active = {
            name: search_space[name]
            for name in self._space.active(choices)
            if name not in choices and not search_space[name].single()
        }
        siblings = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and other.params.keys() >= active.keys()
            and all(other.params.get(name) == value for name, value in choices.items())
        ]
        return choices | self._propose(study, trial, active, siblings)

    def _draw(self, distribution: BaseDistribution) -> Any:
        return from_unit(distribution, float(self._rng.random()))

    @abstractmethod
    def _propose(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        active: Mapping[str, BaseDistribution],
        siblings: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        """Return values for `active`, given the branch's other trials."""


class GpSampler(_BranchSampler):
    """Optuna's GPSampler on a study of the branch alone; a diverged trial has its worst value."""

    def _propose(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        active: Mapping[str, BaseDistribution],
        siblings: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        completed = [t.values[0] for t in siblings if t.state == TrialState.COMPLETE]
        worst = min if study.direction == StudyDirection.MAXIMIZE else max
        # Optuna logs each new study at INFO, and this one is made for a single ask
        logging.getLogger("optuna.storages._in_memory").setLevel(logging.WARNING)
        branch = optuna.create_study(direction=study.direction, sampler=GPSampler(seed=self._seed))
        for sibling in siblings:
            if sibling.state == TrialState.COMPLETE:
                value = sibling.values[0]
            elif diverged(sibling):
                value = worst(completed, default=0.0)
            else:
                continue
            branch.add_trial(
                create_trial(
                    value=value,
                    params={name: sibling.params[name] for name in active},
                    distributions=dict(active),
                )
            )
        return branch.ask(dict(active)).params


class CmaEsSampler(_BranchSampler):
    """CMA-ES on the branch's numeric dimensions, its state replayed from the trials' JSON."""

    def _propose(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        active: Mapping[str, BaseDistribution],
        siblings: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        history = [
            Told(
                number=sibling.number,
                params=sibling.params,
                loss=math.inf if diverged(sibling) else _loss(sibling, sign),
                state=sibling.system_attrs.get(CMA_STATE, {}),
            )
            for sibling in siblings
        ]
        proposal = propose(active, history, self._seed)
        study._storage.set_trial_system_attr(trial._trial_id, CMA_STATE, proposal.state)
        drawn = {n: self._draw(d) for n, d in active.items() if n not in proposal.values}
        return drawn | proposal.values


def diverged(trial: FrozenTrial) -> bool:
    """Whether the trial carries the violated constraint `diverged`."""
    return trial.constraints.get("diverged", 0.0) > 0


def _loss(trial: FrozenTrial, sign: float) -> float | None:
    return sign * trial.values[0] if trial.state == TrialState.COMPLETE else None
