"""The seam between the sweep and whatever trains: `Engine` on one side, `Feed` on the other.

    trials = feed.take(n)            up to n trials to start now; none = there is nothing left to do
    stop = feed.report(points)       one evaluation of some trials -> the numbers of those to stop
    feed.finish(outcomes)            how each trial ended

An engine that was told to stop a trial ends it with `STOPPED`, unless it was the last epoch: then
the trial is trained. The feed knows why it said so (pruned, out of time, draining).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sweeps.config import Config
    from sweeps.tasks.task import Task


@dataclass(frozen=True)
class Objective:
    """The curve that trials are judged by and that schedules with feedback read."""

    name: str
    maximize: bool


@dataclass(frozen=True)
class Trial:
    """One configuration to train; `seeds` has one entry a repeat, whose curves are averaged."""

    number: int
    config: Config
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """One evaluation of one trial at the end of `epoch` (from 1); `seconds` of training so far.

    `diverged`: a loss or the objective is not finite. Another metric may be NaN (a recall without
    a positive example) and is data like any other.
    """

    number: int
    epoch: int
    values: Mapping[str, float]
    seconds: float
    diverged: bool = False


class Ending(Enum):
    """How a trial ended, as the engine saw it."""

    TRAINED = "trained"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """The end of one trial: `test` metrics when trained, `error` and `traceback` when failed.

    `step`, when diverged: the optimizer update (from 1) with the first non-finite training loss,
    or the epoch's last one, when only the evaluation after it was not finite.
    """

    number: int
    ending: Ending
    epochs: int
    seconds: float
    test: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None
    error: str | None = None
    traceback: str | None = None


class Feed(Protocol):
    """What an engine sees of the sweep."""

    def take(self, n: int) -> list[Trial]:
        """Return up to `n` trials to start or take on now."""

    def report(self, points: Sequence[Point]) -> set[int]:
        """Record one evaluation of some trials; return the numbers of those to stop."""

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Record how trials ended."""


Tasks = Callable[[Mapping[str, Any]], "Task"]
"""The task of given factory arguments (`Config.task_args`), which a sweep may search."""


class Engine(Protocol):
    """Trains what the feed gives until it gives no more.

    While it trains, a `BaseException` may end it: what it held is not its own any more. It is run
    again then, for other trials.
    """

    def run(self, tasks: Tasks, feed: Feed) -> None:
        """Train until `feed.take` returns nothing, each trial on the task of its arguments."""
