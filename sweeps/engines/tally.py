"""`Tally`: what an engine has done so far, and what its time went to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
        self._began = time.perf_counter()
        self._clock = _Clock(self._began, None, dict.fromkeys(PHASES, 0.0))
        self.steps = self.examples = self.models = self.lanes = 0

    @contextmanager
    def spent(self, phase: str) -> Iterator[None]:
        """Count the body's time for a phase, and not for the one that it is within."""
        outer = self._clock.phase
        self._turn(phase)
        try:
            yield
        finally:
            self._turn(outer)

    def trained(self, models: int, steps: int, batch_size: int) -> None:
        """Count an epoch of so many models."""
        self.steps += models * steps
        self.examples += models * steps * batch_size

    def read(self) -> Reading:
        """Return the counts as they are now, the phase that goes on included."""
        clock = self._clock
        now = time.perf_counter()
        counts = (self.steps, self.examples, self.models, self.lanes)
        return Reading(now - self._began, clock.at(now), *counts)

    def _turn(self, phase: str | None) -> None:
        now = time.perf_counter()
        # One assignment, so that another thread never sees the half of it.
        self._clock = _Clock(now, phase, self._clock.at(now))


@dataclass(frozen=True)
class _Clock:
    """Seconds of each phase until `since`, and the phase that has gone on from then."""

    since: float
    phase: str | None
    seconds: Mapping[str, float]

    def at(self, now: float) -> dict[str, float]:
        """Return the seconds of each phase until `now`."""
        seconds = dict(self.seconds)
        if self.phase is not None:
            seconds[self.phase] += now - self.since
        return seconds


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

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        return self._feed.to_stop(seconds)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        with self._tally.spent("reporting"):
            self._feed.finish(outcomes)
