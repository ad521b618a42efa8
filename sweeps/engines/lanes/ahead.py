"""`Ahead`: a feed that is asked for the next trials while the present ones train.

An epoch's steps leave the processor idle where another device takes them. The trials that it asks
for meanwhile are drawn without that epoch's results, as another worker's would be; those that find
no lane at its end wait for the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Self

from sweeps.engines.base import Ending, Feed, Outcome, Outlook, Point, Trial


class Ahead:
    """Asks `feed` on another thread between `ask` and the next call: `with Ahead(feed) as feed:`.

    At the end of the body the trials that wait are let go: no epoch comes any more.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._asking: threading.Thread | None = None
        self._waiting: list[Trial] = []
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._join()
            self._let_go(self._waiting)
        elif self._asking is not None:  # nothing may be taken after the engine has ended
            self._asking.join()

    def ask(self, n: int) -> None:
        """Begin to ask for trials, so that up to `n` wait."""
        wanted = n - len(self._waiting)
        if wanted > 0:
            self._asking = threading.Thread(target=self._ask, args=(wanted,), name="asking")
            self._asking.start()

    def outlook(self) -> Outlook:
        self._join()
        return self._feed.outlook()

    def take(self, n: int) -> list[Trial]:
        """Return trials that wait, then others; those that are to stop by now are let go."""
        self._join()
        if self._waiting:
            stop = self._feed.to_stop({trial.number: _seconds(trial) for trial in self._waiting})
            self._let_go([trial for trial in self._waiting if trial.number in stop])
        taken, self._waiting = self._waiting[:n], self._waiting[n:]
        return [*taken, *(self._feed.take(n - len(taken)) if len(taken) < n else ())]

    def report(self, points: Sequence[Point]) -> set[int]:
        self._join()
        return self._feed.report(points)

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        self._join()
        return self._feed.to_stop(seconds)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        self._join()
        self._feed.finish(outcomes)

    def _ask(self, n: int) -> None:
        try:
            self._waiting += self._feed.take(n)
        except BaseException as error:  # it is the engine's, at its next call
            self._failed = error

    def _join(self) -> None:
        if self._asking is not None:
            self._asking.join()
            self._asking = None
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def _let_go(self, trials: Sequence[Trial]) -> None:
        gone = {trial.number for trial in trials}
        self._waiting = [trial for trial in self._waiting if trial.number not in gone]
        if trials:
            self._feed.finish([_stopped(trial) for trial in trials])


def _seconds(trial: Trial) -> float:
    return trial.start.seconds if trial.start else 0.0


def _stopped(trial: Trial) -> Outcome:
    start = trial.start
    if start is None:
        return Outcome(trial.number, Ending.STOPPED, 0, 0.0, 0.0)
    used = (start.epoch, start.seconds, start.device_seconds, start.peak_memory)
    return Outcome(trial.number, Ending.STOPPED, *used)
