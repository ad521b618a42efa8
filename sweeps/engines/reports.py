"""`Reports`: what a trial that trains by itself says of itself, as the feed's points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sweeps.engines.base import Feed, Objective, Point, Trial
from sweeps.engines.metering import Meter

NAME_LENGTH = 200


class Reports:
    """The reports of one trial; those that have the metric are its epochs 1, 2, 3, ...

    Values without the metric wait for the next report that has it. The last epoch is that of the
    configuration: nobody stops a trial there. `observers` get each finite value of the metric
    before the feed does.
    """

    def __init__(self, trial: Trial, feed: Feed, objective: Objective, meter: Meter) -> None:
        self._number, self._epochs = trial.number, trial.config.epochs
        self._feed, self._objective, self._meter = feed, objective, meter
        self._waiting: dict[str, float] = {}
        self._told = False
        self.observers: list[Callable[[float], None]] = []
        self.names: dict[str, None] = {}  # that were reported, in order
        self.epoch = 0
        self.last: float | None = None  # value of the metric
        self.diverged_step: int | None = None
        self.error: Exception | None = None  # of the sweep, not of the trial

    @property
    def stopped(self) -> bool:
        """Whether the trial was told to stop at another epoch than its last; more may follow."""
        return self._told and self.epoch != self._epochs

    def add(self, values: Mapping[str, float]) -> bool:
        """Take in a report; return whether the trial is to stop.

        A trial that has diverged or was told to stop is told so again, and nothing is kept.
        """
        if self._told or self.diverged_step is not None:
            return True
        self.names |= dict.fromkeys(values)
        self._waiting |= values
        metric = self._objective.name
        if metric in values:
            self.epoch += 1
        diverged = any(self._bad(name, value) for name, value in values.items())
        if diverged:
            step = values.get("step", math.nan)
            self.diverged_step = int(step) if math.isfinite(step) else max(self.epoch, 1)
        if metric in values:
            self._told = self._give(values[metric], diverged=diverged)
        else:
            self.look()
        return self._told or diverged

    def look(self) -> bool:
        """Return whether the trial is to stop by now: told before, out of time, or handed back."""
        if not self._told:
            self._told = self._ask(lambda: self._feed.to_stop({self._number: self._meter.seconds}))
        return self._told

    def conclude(self, value: float) -> None:
        """Take in the last value of the metric; nobody stops a trial that has ended."""
        if value != self.last:
            self.add({self._objective.name: value})
            self._told = False

    def _bad(self, name: str, value: float) -> bool:
        judged = name == self._objective.name or name.endswith("loss")
        return judged and not math.isfinite(value)

    def _give(self, value: float, *, diverged: bool) -> bool:
        self.last = value
        if not diverged:
            for observe in self.observers:
                observe(value)
        values, self._waiting = self._waiting, {}
        point = Point(self._number, self.epoch, values, self._meter.seconds, diverged)
        return self._ask(lambda: self._feed.report([point])) and self.epoch != self._epochs

    def _ask(self, question: Callable[[], set[int]]) -> bool:
        try:
            with self._meter.paused():
                return self._number in question()
        except Exception as error:  # must not look like the trial's own
            self.error = error
            raise


def checked(given: Mapping[str, Any]) -> dict[str, float]:
    """Return reported values as numbers.

    Raises:
        ValueError: a name that no metric can have.
        TypeError: a value that is no number, nor a tensor or an array of one.
    """
    return {_name(name): _number(name, value) for name, value in given.items()}


def _name(name: object) -> str:
    if isinstance(name, str) and 0 < len(name) <= NAME_LENGTH and name.isprintable():
        return name
    raise ValueError(
        f"the metric's name {name!r:.80} is not text of 1 to {NAME_LENGTH} printable characters"
    )


def _number(name: str, value: Any) -> float:
    try:
        if not isinstance(value, str | bytes | bool):
            return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise TypeError(f"the metric '{name}' is {value!r:.80}; give a number, or a tensor of one")
