"""What a worker does now, in numbers: lanes in use, steps and examples a second, shares of time.

A `Gauge` works them out from an engine's tally; they travel to other processes as JSON, in the
worker's heartbeat.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from sweeps.engines.tally import PHASES, Reading

if TYPE_CHECKING:
    from typing import Self

WINDOW_SECONDS = 30.0
_START = Reading(0.0, dict.fromkeys(PHASES, 0.0), 0, 0, 0, 0)


@dataclass(frozen=True)
class Numbers:
    """Of one worker, or of several together.

    `models` train now, in `lanes`. `steps` of models and `examples` count since the worker's start,
    `seconds` ago; the paces and the `shares` of its time (asking, training, evaluating, reporting)
    are those of late.
    """

    models: int
    lanes: int
    steps: int
    examples: int
    seconds: float
    steps_per_second: float
    examples_per_second: float
    shares: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Self:
        """Return what `as_json` gave; what a newer version has added is left out."""
        return cls(**{field.name: saved[field.name] for field in fields(cls)})


class Gauge:
    """The numbers of the engine whose tally `read` reads; for several threads.

    Steps count when an epoch ends, and an epoch may last minutes. So the paces are those between
    two ends of epochs as they were seen, about `WINDOW_SECONDS` apart or one epoch, if it is
    longer; where no epoch has ended for so long again, they are those until now.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._ends = deque([_START])

    def numbers(self) -> Numbers:
        """Return the numbers as they are now."""
        with self._lock:
            now, ends = self._read(), self._ends
            if now.steps != ends[-1].steps:
                ends.append(now)
            while len(ends) > 2 and ends[-1].seconds - ends[1].seconds >= WINDOW_SECONDS:
                ends.popleft()
            first, last = ends[0], ends[-1]
        if now.seconds - last.seconds > last.seconds - first.seconds:
            last = now
        return _between(first, last, now)


def _between(first: Reading, last: Reading, now: Reading) -> Numbers:
    seconds = max(last.seconds - first.seconds, 1e-9)
    return Numbers(
        models=now.models,
        lanes=now.lanes,
        steps=now.steps,
        examples=now.examples,
        seconds=now.seconds,
        steps_per_second=(last.steps - first.steps) / seconds,
        examples_per_second=(last.examples - first.examples) / seconds,
        shares={name: (last.phases[name] - first.phases[name]) / seconds for name in PHASES},
    )


def together(each: Collection[Numbers]) -> Numbers | None:
    """Return the sums over workers, the shares' means and the longest time; None without any."""
    if not each:
        return None
    return Numbers(
        models=sum(own.models for own in each),
        lanes=sum(own.lanes for own in each),
        steps=sum(own.steps for own in each),
        examples=sum(own.examples for own in each),
        seconds=max(own.seconds for own in each),
        steps_per_second=sum(own.steps_per_second for own in each),
        examples_per_second=sum(own.examples_per_second for own in each),
        shares={name: sum(own.shares[name] for own in each) / len(each) for name in PHASES},
    )
