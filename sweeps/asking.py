"""Claims trials and gives each a configuration: two transactions, and sampling in between.

Samplers read the study DB through `Drafts`, which holds back what they and Optuna's `Trial` write
to a trial. It is written at once when all are drawn, under the trials' leases: a worker that was
paused while it sampled writes nothing to a trial that another has taken over.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage

from studies import Claim, Drawn, Holding, Points, StudyStorage
from sweeps.config import Config


@dataclass(frozen=True)
class Asked:
    """A trial that this worker holds, with its configuration and what it has of a curve."""

    trial_id: int
    number: int
    origin: str
    config: Config
    curve: Mapping[int, float]  # epoch -> objective; of a new trial none


@dataclass
class _Draft:
    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)


class Drafts:
    """A study DB that keeps what is written to single trials until it is taken."""

    def __init__(self, storage: StudyStorage) -> None:
        self._storage = storage
        self._drafts: dict[int, _Draft] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: BaseDistribution
    ) -> None:
        self._draft(trial_id).params[name] = (value, distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._draft(trial_id).user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._draft(trial_id).system_attrs[key] = value

    def take(self) -> list[Drawn]:
        """Return what was written since the last call."""
        drafts, self._drafts = self._drafts, {}
        return [
            Drawn(trial_id, draft.params, draft.user_attrs, draft.system_attrs)
            for trial_id, draft in drafts.items()
        ]

    def _draft(self, trial_id: int) -> _Draft:
        return self._drafts.setdefault(trial_id, _Draft())


class Asker:
    """Takes trials of one study for one worker.

    `suggest` draws a trial's configuration through the sampler, `sampler` makes the sampler for a
    trial's number, `points` are those of a grid.
    """

    def __init__(
        self,
        study: optuna.Study,
        holding: Holding,
        *,
        suggest: Callable[[optuna.Trial], Config],
        sampler: Callable[[int], optuna.samplers.BaseSampler],
        points: Points | None,
        places: float,
    ) -> None:
        self._storage, self._holding = holding.storage, holding
        self._suggest, self._sampler = suggest, sampler
        self._points, self._places = points, places
        self._drafts = Drafts(self._storage)
        self._study = copy.copy(study)
        self._study._storage = cast(BaseStorage, self._drafts)

    def take(self, n: int) -> tuple[list[Asked], Claim]:
        """Claim up to `n` trials, and draw those that have no configuration yet.

        A trial that was lost while it was drawn is in the claim only.
        """
        claim = self._holding.claim(n, places=self._places, points=self._points)
        asked = [self._configured(lease.trial_id, lease.number) for lease in claim.leases]
        drawn = self._drafts.take()
        refused = self._storage.draw(drawn, self._holding.fence) if drawn else set()
        for trial_id in refused:
            self._holding.drop(trial_id)
        return [each for each in asked if each.trial_id not in refused], claim

    def _configured(self, trial_id: int, number: int) -> Asked:
        frozen = self._storage.get_trial(trial_id)
        if "config" in frozen.user_attrs:
            config = Config.from_json(frozen.user_attrs["config"])
            origin = frozen.user_attrs.get("origin", "sampled")
            return Asked(trial_id, number, origin, config, frozen.intermediate_values)
        self._study._thread_local.cached_all_trials = None  # as `study.ask` does
        self._study.sampler = self._sampler(number)
        trial = optuna.Trial(self._study, trial_id)
        config = self._suggest(trial)
        trial.set_user_attr("origin", "sampled")
        trial.set_user_attr("config", config.to_json())
        return Asked(trial_id, number, "sampled", config, {})
