"""What a running worker knows at this moment, for the live table."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.numbers import Numbers

PLACELESS = ("failed", "cancelled")
"""Outcomes that hold no place of the budget."""


@dataclass
class Running:
    """One trial in training."""

    label: str
    epochs: float  # inf: nobody knows, the script of the trial ends by itself
    epoch: int = 0
    value: float | None = None
    worker: str = ""  # who trains it, where there are several

    @property
    def reached(self) -> str:
        """How far it is: `3/30`; of a script `3`, its reports."""
        return f"{self.epoch}" if math.isinf(self.epochs) else f"{self.epoch}/{self.epochs}"


@dataclass
class Progress:
    """Counts since this worker started, and the best value of the whole study."""

    total: float
    done_before: int
    maximize: bool
    best: tuple[int, float] | None = None
    running: dict[int, Running] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    note: str = ""
    read_numbers: Callable[[], Mapping[str, Numbers]] = dict  # by worker
    _told: str = ""

    def told(self, said: str) -> None:
        """Note what the study says by now, once: another note may follow it."""
        if said != self._told:
            self._told = self.note = said

    def saw(self, number: int, value: float) -> None:
        """Note a finished trial's value."""
        if self.best is None or ((value > self.best[1]) == self.maximize and value != self.best[1]):
            self.best = (number, value)

    @property
    def done(self) -> int:
        """Trials that hold a place of the budget: complete, pruned, diverged."""
        ended = sum(n for outcome, n in self.outcomes.items() if outcome not in PLACELESS)
        return self.done_before + ended

    @property
    def trials_per_second(self) -> float:
        """Trials ended a second of wall clock, since this worker started."""
        return sum(self.outcomes.values()) / max(time.monotonic() - self.started, 1e-9)

    @property
    def eta_seconds(self) -> float | None:
        """Expected seconds to the end at today's pace; None before the first trial ended."""
        pace = self.trials_per_second
        return max(self.total - self.done, 0) / pace if pace else None
