"""What a script has said that the feed has not heard yet.

What is said without the sweep's metric belongs to the next value of it, the last word of each name;
what is left at the end is the trial's as its test metrics are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.scripts.channel import Connection

MOST_VALUES = 100_000
"""Of the metric in one trial: more is a script that reports each step of a loop."""
MOST_NAMES = 1_000
MOST_WAITING = 256
"""Values that wait for the feed; the script waits then until some are heard."""


class TooMuchError(Exception):
    """A script has said more than is kept of a trial; the text says what."""


@dataclass(frozen=True)
class Report:
    """A value of the metric and what came with it; `to` waits for the answer and `heeds` it."""

    values: Mapping[str, float]
    number: int  # from 1
    value: float
    to: Connection | None
    heeds: bool


class Reports:
    """The values of `metric` that wait, and how many there have been."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._waiting = deque[Report]()
        self._names = {metric}
        self._last, self._summary = math.nan, math.nan
        self._numbered = 0
        self.beside: dict[str, float] = {}  # said without the metric, since its last value

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the script has to wait."""
        return len(self._waiting) >= MOST_WAITING

    def told(
        self, values: Mapping[str, float], to: Connection | None = None, heeds: bool = False
    ) -> bool:
        """Note numbers; return whether they are a value of the metric, which waits now.

        Raises:
            TooMuchError: there are too many names, or too many values.
        """
        self._names.update(values)
        if len(self._names) > MOST_NAMES:
            raise TooMuchError(
                f"the script has reported more than {MOST_NAMES} names; report fewer"
            )
        self.beside |= values
        if self._metric not in values:
            return False
        if self._numbered >= MOST_VALUES:
            raise TooMuchError(
                f"the script has reported {self._metric} more than {MOST_VALUES} times; report it "
                "once an epoch, or every so many steps"
            )
        self._numbered += 1
        self._last, self._summary = values[self._metric], math.nan
        self._waiting.append(Report(self.beside, self._numbered, self._last, to, heeds))
        self.beside = {}
        return True

    def within(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the values less those whose names would be too many: what is printed is chance."""
        found = {}
        for name, value in values.items():
            if name in self._names or len(self._names) < MOST_NAMES:
                self._names.add(name)
                found[name] = value
        return found

    def summarized(self, values: Mapping[str, float]) -> None:
        """Note a last word on the metric, until it is reported again."""
        self._summary = values.get(self._metric, self._summary)

    def end(self) -> None:
        """Take the last word on the metric as its last value, if it is another one."""
        if not math.isnan(self._summary) and self._summary != self._last:
            self.told({self._metric: self._summary})

    def awaited(self, connection: Connection) -> bool:
        """Return whether the connection has a value that waits."""
        return any(report.to is connection for report in self._waiting)

    def take(self, most: int) -> list[Report]:
        """Take up to `most` values for the feed, none after one that is not finite."""
        taken: list[Report] = []
        while self._waiting and len(taken) < most:
            taken.append(self._waiting.popleft())
            if not math.isfinite(taken[-1].value):
                self._waiting.clear()
        return taken

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
