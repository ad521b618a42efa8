"""The seam between the sweep and whatever trains: `Engine` on one side, `Feed` on the other.

    trials = feed.take(n)            up to n trials to start now; none = there is nothing left to do
    stop = feed.report(points)       one evaluation of some trials -> the numbers of those to stop
    stop = feed.to_stop(seconds)     the same between two evaluations, for trials that can end there
    feed.finish(outcomes)            how each trial ended

An engine that was told to stop a trial ends it with `STOPPED`, unless it was the last epoch: then
the trial is trained. The feed knows why it said so (pruned, out of time, draining).

A point offers the trial's `State`, and the feed takes it when it is due. A trial that comes with
one as its `start` goes on from there, in this process or another, and its curve is the same.

A process that must end before the epoch does raises `Cut` in its engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sweeps.engines.tally import Tally
    from sweeps.tasks.task import Task


class Cut(BaseException):
    """Raised while an engine trains: there is no time for the end of this epoch.

    An engine that can do so goes back to where the epoch began, reports the trials that have ended
    it already, and ends the others with `STOPPED` and their `state`. One that cannot lets it pass:
    its trials are handed back with what was written of them before.
    """


@dataclass(frozen=True)
class Objective:
    """The curve that trials are judged by and that schedules with feedback read."""

    name: str
    maximize: bool

    def diverged(self, values: Mapping[str, float]) -> bool:
        """Return whether a loss or the objective is not finite."""
        judged = ("train/loss", "valid/loss", self.name)
        return not all(math.isfinite(values[name]) for name in judged)


@dataclass(frozen=True)
class State:
    """A trial at the end of `epoch`, as much of it as goes on.

    `replicas` has one tree a repeat: dicts with the keys `model`, `optimizer`, `schedule` and
    `average`, of the `state_dict`s of the modules and classes that the configuration names, made of
    dicts, lists, tuples, numbers, text and tensors. There is no state of random generators: every
    epoch seeds them from (seed, epoch). `seconds`, `device_seconds` and `peak_memory` are the
    outcome's so far.
    """

    epoch: int
    seconds: float
    device_seconds: float
    peak_memory: int | None
    replicas: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Trial:
    """One configuration to train; `seeds` has one entry a repeat, whose curves are averaged.

    `config` is a `Config`, for the engine of scripts a `ScriptConfig`. `start`: what it goes on
    from; None: from its first epoch.
    """

    number: int
    config: Any
    seeds: tuple[int, ...]
    start: State | None = None


@dataclass(frozen=True)
class Point:
    """One evaluation of one trial at the end of `epoch` (from 1); `seconds` of training so far.

    `diverged`: a loss or the objective is not finite. Another metric may be NaN (a recall without
    a positive example) and is data like any other. `state` gives the trial's state, until `report`
    returns; None where nothing goes on (the last epoch, a divergence).
    """

    number: int
    epoch: int
    values: Mapping[str, float]
    seconds: float
    diverged: bool = False
    state: Callable[[], State] | None = None


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

    `seconds` are those of the trial's own code (building, training, evaluation), `device_seconds`
    its share of the device's time from its start to its end: all of it where it is alone. Both add
    up over the attempts that it went on from. `peak_memory`: the most bytes in use on the device
    while it was there; None on a CPU, where the process's memory is not the trial's. `folder`:
    where a script's output is.

    `state`, of a trial that was cut in the middle of an epoch: what it is at the end of the one
    before, `epochs`; None where that is not known any more.
    """

    number: int
    ending: Ending
    epochs: int
    seconds: float
    device_seconds: float
    peak_memory: int | None = None
    test: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None
    error: str | None = None
    traceback: str | None = None
    folder: str | None = None
    state: Callable[[], State] | None = None


@dataclass(frozen=True)
class Outlook:
    """What may still come to one worker, as far as it is known; infinite where it is not.

    `trials` that may still begin, `seconds` until time is over, and how many trials to train
    `at_once` at most: a sampler that learns from trials must see some of them end.
    """

    trials: float = inf
    seconds: float = inf
    at_once: float = inf


class Feed(Protocol):
    """What an engine sees of the sweep."""

    def outlook(self) -> Outlook:
        """Return what may still come."""

    def take(self, n: int) -> list[Trial]:
        """Return up to `n` trials to start or take on now."""

    def report(self, points: Sequence[Point]) -> set[int]:
        """Record one evaluation of some trials; return the numbers of those to stop."""

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        """Return which trials, with their seconds of training so far, are to stop by now."""

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Record how trials ended."""


class Notes(Protocol):
    """What engines have found out about a sweep's models, for those that come later; as JSON."""

    def get(self, key: str) -> Any:
        """Return what is known; None where nothing is."""

    def __setitem__(self, key: str, value: Any) -> None: ...


Tasks = Callable[[Mapping[str, Any]], "Task"]
"""The task of given factory arguments (`Config.task_args`), which a sweep may search."""


class Engine(Protocol):
    """Trains what the feed gives until it gives no more.

    While it trains, a `BaseException` may end it: what it held is not its own any more. It is run
    again then, for other trials.
    """

    @property
    def tally(self) -> Tally:
        """What it has done so far."""

    def run(self, tasks: Tasks, feed: Feed) -> None:
        """Train until `feed.take` returns nothing, each trial on the task of its arguments."""
