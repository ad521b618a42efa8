"""Samplers that work on one branch at a time: Gaussian process and CMA-ES.

A branch is one choice of optimizer, schedule and average: within it every dimension is there, which
is what both need. They draw the branch, and CMA-ES all other categorical values, at random.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.sampling.base import SpaceSampler, diverged
from sweeps.sampling.cma import Told, propose
from sweeps.sampling.feasibility import Feasibility
from sweeps.unit_cube import Numeric, from_unit, places

CMA_STATE = "sweeplane:cma"
# Optuna logs each new study at INFO, and the Gaussian process has one for each ask.
logging.getLogger("optuna.storages._in_memory").setLevel(logging.WARNING)
Dimensions = Mapping[str, BaseDistribution]


class BranchSampler(SpaceSampler):
    """Draws the branch at random, then asks `_within` for the values of its dimensions."""

    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Dimensions
    ) -> dict[str, Any]:
        rng = self.rng(trial)
        branching = [name for name in self._space.branching if name in search_space]
        choices = {name: from_unit(search_space[name], rng.random()) for name in branching}
        idle = self._flat.keys() - set(self._space.active(choices))
        active = {
            name: distribution
            for name, distribution in search_space.items()
            if name not in choices and name not in idle
        }
        siblings = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and other.params.keys() >= active.keys()
            and all(other.params.get(name) == value for name, value in choices.items())
        ]
        return choices | self._within(study, trial, active, siblings)

    @abstractmethod
    def _within(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        active: Dimensions,
        siblings: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        """Return values for `active`, given the branch's other trials."""


class GpSampler(BranchSampler):
    """Optuna's GPSampler on a study of the branch alone.

    A diverged trial has the worst value there. Optuna multiplies the improvement by the probability
    that a constraint is met, which another Gaussian process tells: it is 1 where a trial diverged
    and -1 where it did not, so that its edge lies between them. Running trials are pending points.
    """

    def _within(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        active: Dimensions,
        siblings: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        sampler = GPSampler(seed=self.seed(trial), warn_independent_sampling=False)
        branch = optuna.create_study(direction=study.direction, sampler=sampler)
        completed = [t.values[0] for t in siblings if t.state == TrialState.COMPLETE]
        worst = min if study.direction == StudyDirection.MAXIMIZE else max
        constrained = any(diverged(sibling) for sibling in siblings)
        for sibling in siblings:
            gone = diverged(sibling)
            if sibling.state in (TrialState.FAIL, TrialState.WAITING):
                continue
            if sibling.state == TrialState.PRUNED and not gone:
                continue
            running = sibling.state == TrialState.RUNNING
            value = worst(completed, default=0.0) if gone else sibling.value
            edge = {"constraints:diverged": 1.0 if gone else -1.0}
            branch.add_trial(
                create_trial(
                    state=TrialState.RUNNING if running else TrialState.COMPLETE,
                    value=None if running else value,
                    params={name: sibling.params[name] for name in active},
                    distributions=dict(active),
                    system_attrs=edge if constrained and not running else {},
                )
            )
        return branch.ask(dict(active)).params


class CmaEsSampler(BranchSampler):
    """CMA-ES on the branch's numeric dimensions, its state replayed from the trials' JSON.

    A diverged trial is the worst of its generation, and a point that is likely to diverge is drawn
    again (Hansen, arXiv:1604.00772, B.5).
    """

    def _within(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        active: Dimensions,
        siblings: Sequence[FrozenTrial],
    ) -> dict[str, Any]:
        numeric = {name: d for name, d in sorted(active.items()) if isinstance(d, Numeric)}
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        finished = [t for t in siblings if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        history = [
            Told(
                params=sibling.params,
                loss=math.inf if diverged(sibling) else sign * sibling.values[0],
                generation=sibling.system_attrs.get(CMA_STATE, {}).get("generation"),
            )
            for sibling in sorted(finished, key=_ended)
            if diverged(sibling) or sibling.state == TrialState.COMPLETE
        ]
        values: dict[str, Any] = {}
        if numeric:
            model = _feasibility(numeric, finished)
            proposal = propose(numeric, history, self.seed(trial), model)
            values = proposal.values
            state = {"generation": proposal.generation}
            study._storage.set_trial_system_attr(trial._trial_id, CMA_STATE, state)
        rng = self.rng(trial, 1)
        return {name: from_unit(d, rng.random()) for name, d in active.items()} | values


def _ended(trial: FrozenTrial) -> tuple[datetime, int]:
    return trial.datetime_complete or datetime.max, trial.number


def _feasibility(
    numeric: Mapping[str, Numeric], finished: Sequence[FrozenTrial]
) -> Feasibility | None:
    gone = np.array([diverged(trial) for trial in finished], float)
    if not gone.any():
        return None
    columns = [places(d, [t.params[name] for t in finished]) for name, d in numeric.items()]
    return Feasibility(list(numeric.values()), np.stack(columns, axis=1), gone)
