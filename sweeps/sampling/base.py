"""What the samplers share: the space in groups and branches, seeds by trial, and divergence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from sweeps.unit_cube import from_unit

if TYPE_CHECKING:
    from sweeps.space import Space


class SpaceSampler(BaseSampler):
    """Proposes values for all that is active in the space at once.

    It keeps nothing that could change a result: what it draws follows from the study, the sweep's
    seed and the trial's number. A dimension that the space does not know is always active.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._flat = space.flat()
        self._owners = {
            knob.key: knob.owner
            for knob in space.knobs
            if knob.searched and knob.owner.kind in space.branching
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._flat

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        given = {name: d for name, d in search_space.items() if not d.single()}
        return self._propose(study, trial, given) if given else {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        if param_name in self._flat:
            raise LookupError(f"{type(self).__name__} proposed no value for {param_name}")
        salt = np.frombuffer(param_name.encode(), np.uint8)
        return from_unit(param_distribution, self.rng(trial, *salt).random())

    @abstractmethod
    def _propose(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values for at least the dimensions of `search_space` that are active."""

    def seed(self, trial: FrozenTrial) -> int:
        """Return the seed of one trial, 32 bits."""
        return (self._seed * 1_000_003 + trial.number) % 2**32

    def rng(self, trial: FrozenTrial, *salt: int) -> np.random.Generator:
        """Return the random numbers of one trial."""
        return np.random.default_rng([self.seed(trial), *salt])

    def groups(
        self, search_space: Mapping[str, BaseDistribution], drawn: Mapping[str, Any]
    ) -> Iterator[dict[str, BaseDistribution]]:
        """Return the dimensions that are always there, then those of each choice in `drawn`.

        `drawn` has the first group's values when the second is asked for.
        """
        owners = self._owners
        first = {name: d for name, d in search_space.items() if name not in owners}
        if first:
            yield first
        for kind in self._space.branching:
            own = {
                name: d
                for name, d in search_space.items()
                if name in owners and owners[name] == (kind, drawn.get(kind))
            }
            if own:
                yield own


def diverged(trial: FrozenTrial) -> bool:
    """Whether the trial carries the violated constraint `diverged`."""
    return trial.constraints.get("diverged", 0.0) > 0


def value_at(dimension: BaseDistribution, place: float) -> Any:
    """Return the value at a place in [0, 1]; of a category, the one of that index."""
    if isinstance(dimension, CategoricalDistribution):
        return dimension.choices[int(place)]
    return from_unit(dimension, float(place))
