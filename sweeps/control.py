"""What `sweeps pause | resume | stop | cancel` mean to a process that works on a sweep.

A trial that was taken from this process (cancelled, or given back by `cancel`) is refused by its
token whatever happens here. So that nobody waits for the end of a long epoch, the heartbeat's
thread interrupts the engine by SIGURG, which is ignored where nobody listens: its handler raises
`Interrupted` in the main thread, but never within a call of the feed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from sweeps.engines.base import Cut

if TYPE_CHECKING:
    from studies import Order
    from sweeps.engines.base import Feed, Outcome, Outlook, Point, Trial

_T = TypeVar("_T")


class Interrupted(BaseException):
    """The engine trains nothing any more that this process holds; no `Exception`, so that a
    trial's own code does not catch it.
    """


class Interruptible:
    """A feed whose engine may be interrupted while it trains.

    `idle` says when it should be, since it holds no trial any more, and `overdue` when it should be
    cut, since this process must end.
    """

    def __init__(
        self, feed: Feed, idle: Callable[[], bool], overdue: Callable[[], bool] = lambda: False
    ) -> None:
        self._feed, self._idle, self._overdue = feed, idle, overdue
        self._training = self._was_cut = False

    def outlook(self) -> Outlook:
        return self._call(self._feed.outlook)

    def take(self, n: int) -> list[Trial]:
        return self._call(lambda: self._feed.take(n))

    def report(self, points: Sequence[Point]) -> set[int]:
        return self._call(lambda: self._feed.report(points))

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        return self._call(lambda: self._feed.to_stop(seconds))

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        self._call(lambda: self._feed.finish(outcomes))

    def _call(self, call: Callable[[], _T]) -> _T:
        self._training = False
        found = call()
        self._training = True
        return found

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Raise `Interrupted` or `Cut` in the body after `interrupt`.

        The body runs in the main thread. A `Cut` comes once: what follows it must not be cut.
        """

        def handle(_number: int, _frame: FrameType | None) -> None:
            if not self._training:
                return
            if self._idle():
                self._training = False
                raise Interrupted
            if self._overdue() and not self._was_cut:
                self._training, self._was_cut = False, True
                raise Cut

        before = signal.signal(signal.SIGURG, handle)
        try:
            yield
        finally:
            self._training = False
            signal.signal(signal.SIGURG, before)


def interrupt() -> None:
    """Interrupt the engine of this process, if there is one that should be; from any thread."""
    main = threading.main_thread().ident
    if main is not None:  # None: it was never started
        signal.pthread_kill(main, signal.SIGURG)


def note(study: str, order: Order) -> str:
    """Return what the live table says of an order; nothing while trials run."""
    if order.control == "run":
        return ""
    if order.control == "pause":
        since = "" if order.since is None else f" since {order.since:%H:%M:%S} UTC"
        return f"{order.past}{since}; it goes on with: {order.go_on(study)}"
    if order.control == "cancel":
        return f"{order.past}: the trials were given back"
    return "stopping: the epoch ends, then the trial is handed back"


def ended_by(order: Order) -> str:
    """Return what drained a run, in words: a command, else a signal."""
    return order.by if order.ends else "drained by a signal"
