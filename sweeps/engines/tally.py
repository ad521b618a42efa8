"""`Tally`: what an engine has done so far, and what its time went to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.engines.base import Feed, Outcome, Outlook, Point, Trial

PHASES = ("asking", "training", "evaluating", "reporting")
"""What an engine does; the rest is making models and moving them."""


@dataclass(frozen=True)
class Reading:
    """Since the engine's start: seconds in all and of each phase, steps of models and examples.

    `models` train now, in `lanes` (each of those by themselves has one).
    """

    seconds: float
    phases: dict[str, float]
    steps: int
    examples: int
    models: int
    lanes: int


class Tally:
    """Counts for one engine; `read` may be called from another thread."""

    def __init__(self) -> None:
        self._began = self._since = time.perf_counter()
        self._phases = dict.fromkeys(PHASES, 0.0)
        self._within: list[str] = []
        self.steps = self.examples = self.models = self.lanes = 0

    @contextmanager
    def spent(self, phase: str) -> Iterator[None]:
        """Count the body's time for a phase, and not for the one that it is within."""
        self._turn()
        self._within.append(phase)
        try:
            yield
        finally:
            self._turn()
            self._within.pop()

    def trained(self, models: int, steps: int, batch_size: int) -> None:
        """Count an epoch of so many models."""
        self.steps += models * steps
        self.examples += models * steps * batch_size

    def read(self) -> Reading:
        """Return the counts as they are now."""
        seconds = time.perf_counter() - self._began
        phases = dict(self._phases)
        return Reading(seconds, phases, self.steps, self.examples, self.models, self.lanes)

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._within:
            self._phases[self._within[-1]] += now - self._since
        self._since = now


class Timed:
    """A feed whose calls count as asking and reporting."""

    def __init__(self, feed: Feed, tally: Tally) -> None:
        self._feed, self._tally = feed, tally

    def outlook(self) -> Outlook:
        return self._feed.outlook()

    def take(self, n: int) -> list[Trial]:
        with self._tally.spent("asking"):
            return self._feed.take(n)

    def report(self, points: Sequence[Point]) -> set[int]:
        with self._tally.spent("reporting"):
            return self._feed.report(points)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        with self._tally.spent("reporting"):
            self._feed.finish(outcomes)
