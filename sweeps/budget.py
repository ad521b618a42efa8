"""How long a sweep goes on: trials, wall time, device-hours, or a target reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from sweeps.outcomes import has_failed

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States that use up one of the budget's trials: pruned and diverged ones do, failed ones do not.
Running ones hold a place too (`studies.leases.COUNTED`), which they may give back."""


@dataclass
class Spent:
    """What the finished trials of one study have used up, counted at looks, each of them once."""

    ended: int = 0
    running: int = 0
    failed: int = 0
    device_seconds: float = 0.0
    lowest: float = math.inf  # of the complete trials' values
    highest: float = -math.inf
    _open: list[int] = field(default_factory=list)  # numbers of the trials that had not finished
    _seen: int = 0

    def look(self, trials: Sequence[FrozenTrial]) -> None:
        """Count what has finished since the last look; the study's trials by number."""
        numbers = [*self._open, *range(self._seen, len(trials))]
        self._open = [n for n in numbers if not trials[n].state.is_finished()]
        self._seen = len(trials)
        self.running = sum(trials[n].state == TrialState.RUNNING for n in self._open)
        for trial in (trials[n] for n in numbers):
            if trial.state.is_finished():
                self._count(trial)

    def _count(self, trial: FrozenTrial) -> None:
        self.ended += trial.state in ENDED
        self.failed += has_failed(trial)
        self.device_seconds += _device_seconds(trial)
        if trial.state == TrialState.COMPLETE:
            self.lowest = min(self.lowest, trial.values[0])
            self.highest = max(self.highest, trial.values[0])


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

    def met(self, spent: Spent, seconds: float) -> str | None:
        """Return which limit is met, in words, given what is spent and the sweep's wall clock."""
        if self._hits(spent):
            return f"target {self.target:g} is reached"
        if spent.ended >= self.trials:
            return f"all {self.trials:.0f} trials have run"
        if spent.device_seconds >= self.device_seconds:
            return f"{spent.device_seconds / 3600:.3g} device-hours are used (budget.gpu_hours)"
        return self.out_of_time(seconds)

    def out_of_time(self, seconds: float) -> str | None:
        """Return that the wall clock is spent; unlike the other limits it ends running trials."""
        return f"{seconds:.0f} s have passed (budget.time)" if seconds >= self.time else None

    def full(self) -> str:
        """Return that others hold the last places, in words."""
        return (
            f"all {self.trials:.0f} places of budget.trials are taken, some by RUNNING trials of a "
            "program that works on this study through Optuna"
        )

    def _hits(self, spent: Spent) -> bool:
        if self.target is None:
            return False
        return spent.highest >= self.target if self.maximize else spent.lowest <= self.target


def _device_seconds(trial: FrozenTrial) -> float:
    # Trials of before there were device seconds have those of training.
    seconds: float = trial.user_attrs.get("device_seconds", trial.user_attrs.get("seconds", 0.0))
    return seconds
