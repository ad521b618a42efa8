"""Claims trials and gives each a configuration: two transactions, and sampling in between.

Samplers read the study DB through `Drafts`: one look at it for the whole refill, and what they and
Optuna's `Trial` write to a trial is held back. It is written at once when all are drawn, under the
trials' leases: a worker that was paused while it sampled writes nothing to a trial that another has
taken over. What a refill draws is so all there or not at all; one that a kill cut short is drawn
anew, to the same values if it is as large.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from studies import Claim, Drawn, Holding, Points, StudyStorage
from studies.leases import Lease
from sweeps.config import AnyConfig, read_config


@dataclass(frozen=True)
class Asked:
    """A trial that this worker holds, with its configuration and what it has of a curve."""

    trial_id: int
    number: int
    origin: str
    config: AnyConfig
    curve: Mapping[int, float]  # epoch -> objective; of a new trial none


@dataclass
class _Draft:
    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)


class Drafts:
    """A study DB as it was at the last look, and what was written to single trials since.

    That is kept until it is taken; of it, `get_all_trials` shows the parameters.
    """

    def __init__(self, storage: StudyStorage) -> None:
        self._storage = storage
        self._drafts: dict[int, _Draft] = {}
        self._trials: list[FrozenTrial] = []
        self._places: dict[int, int] = {}  # by trial id, of the trials being drawn

    def look(self, study_id: int, leases: Sequence[Lease]) -> None:
        """Read the study's trials, of which those of `leases` are about to be drawn."""
        self._places = {lease.trial_id: lease.number for lease in leases}
        self._trials = self._storage.glance(study_id, self._places.keys())

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        trials = list(self._trials)
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial of those being drawn, whose dicts are the caller's own."""
        trial = copy.copy(self.seen(trial_id))  # a deep one takes as long as drawing the trial
        trial.params, trial.distributions = {**trial.params}, {**trial.distributions}
        trial.user_attrs = copy.deepcopy(trial.user_attrs)
        trial.system_attrs = copy.deepcopy(trial.system_attrs)
        trial.intermediate_values = {**trial.intermediate_values}
        return trial

    def seen(self, trial_id: int) -> FrozenTrial:
        """Return a trial of those being drawn: not to be changed."""
        return self._trials[self._places[trial_id]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: BaseDistribution
    ) -> None:
        self._draft(trial_id).params[name] = (value, distribution)
        place = self._places[trial_id]
        trial = copy.copy(self._trials[place])  # the mirror has it too
        trial.params = {**trial.params, name: distribution.to_external_repr(value)}
        trial.distributions = {**trial.distributions, name: distribution}
        self._trials[place] = trial

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

    `suggest` draws a trial's configuration through the sampler, `sampler` makes the sampler of a
    refill, `points` are those of a grid.
    """

    def __init__(
        self,
        study: optuna.Study,
        holding: Holding,
        *,
        suggest: Callable[[optuna.Trial], AnyConfig],
        sampler: Callable[[], optuna.samplers.BaseSampler],
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
        if claim.leases:
            self._drafts.look(self._study._study_id, claim.leases)
            self._study._thread_local.cached_all_trials = None  # as `study.ask` does
            self._study.sampler = self._sampler()
        asked = [self._configured(lease.trial_id, lease.number) for lease in claim.leases]
        drawn = self._drafts.take()
        refused = self._storage.draw(drawn, self._holding.fence) if drawn else set()
        for trial_id in refused:
            self._holding.drop(trial_id)
        return [each for each in asked if each.trial_id not in refused], claim

    def _configured(self, trial_id: int, number: int) -> Asked:
        frozen = self._drafts.seen(trial_id)
        if "config" in frozen.user_attrs:
            config: AnyConfig = read_config(frozen.user_attrs["config"])
            origin = frozen.user_attrs.get("origin", "sampled")
            return Asked(trial_id, number, origin, config, frozen.intermediate_values)
        trial = optuna.Trial(self._study, trial_id)
        config = self._suggest(trial)
        trial.set_user_attr("origin", "sampled")
        trial.set_user_attr("config", config.to_json())
        return Asked(trial_id, number, "sampled", config, {})


def seeds_of(seed: int, number: int, repeats: int) -> tuple[int, ...]:
    """Return a trial's seeds, one a repeat, from (sweep seed, trial number, repeat)."""
    return tuple(
        int(np.random.SeedSequence((seed, number, repeat)).generate_state(1)[0])
        for repeat in range(repeats)
    )
