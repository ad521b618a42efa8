"""How long a sweep goes on: trials, wall time, device-hours, or a target reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States that use up one of the budget's trials: pruned and diverged ones do, failed ones do not.
Running ones hold a place too (`studies.leases.COUNTED`), which they may give back."""


@dataclass(frozen=True)
class Budget:
    """The limits of one sweep; whichever is met first ends it.

    `time` is the sweep's unpaused wall clock in seconds over relaunches, `device_seconds` the
    trials' shares of their devices' time, `target` an objective value that ends the sweep when a
    trial meets it.
    """

    trials: float = math.inf
    time: float = math.inf
    device_seconds: float = math.inf
    target: float | None = None
    maximize: bool = False

    def met(self, trials: Sequence[FrozenTrial], seconds: float) -> str | None:
        """Return which limit is met, in words, given the study's trials and its wall clock."""
        by_state = [trial.state for trial in trials]
        used = sum(map(_device_seconds, trials))
        if self.target is not None and any(map(self._hits, trials)):
            return f"target {self.target:g} is reached"
        if sum(map(by_state.count, ENDED)) >= self.trials:
            return f"all {self.trials:.0f} trials have run"
        if used >= self.device_seconds:
            return f"{used / 3600:.3g} device-hours are used (budget.gpu_hours)"
        return self.out_of_time(seconds)

    def out_of_time(self, seconds: float) -> str | None:
        """Return that the wall clock is spent; unlike the other limits it ends running trials."""
        return f"{seconds:.0f} s have passed (budget.time)" if seconds >= self.time else None

    def _hits(self, trial: FrozenTrial) -> bool:
        if trial.state != TrialState.COMPLETE or self.target is None:
            return False
        value: float = trial.values[0]
        return value >= self.target if self.maximize else value <= self.target


def _device_seconds(trial: FrozenTrial) -> float:
    # Trials of before there were device seconds have those of training.
    seconds: float = trial.user_attrs.get("device_seconds", trial.user_attrs.get("seconds", 0.0))
    return seconds
