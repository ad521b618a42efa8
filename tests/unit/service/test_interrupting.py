"""An engine is interrupted while it trains, and never within a call of its feed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence

import pytest

from studies import Order
from sweeps.control import Interrupted, Interruptible, ended_by, interrupt, note
from sweeps.engines.base import Outcome, Point, Trial


class Feed:
    """A feed whose `take` interrupts the engine that calls it."""

    def take(self, n: int) -> list[Trial]:
        interrupt()
        return []

    def report(self, points: Sequence[Point]) -> set[int]:
        return set()

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        raise ValueError("refused")


def train() -> None:
    """An epoch that does not end by itself."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(1)
    pytest.fail("it was not interrupted within 30 s")


def test_it_ends_an_epoch_from_another_thread() -> None:
    feed = Interruptible(Feed(), lambda: True)
    began = time.monotonic()
    with feed.listening():
        feed.report([])
        threading.Timer(0.1, interrupt).start()
        with pytest.raises(Interrupted):
            train()
    assert time.monotonic() - began < 10


def test_nothing_is_cut_in_a_call_of_the_feed_or_outside_an_engine() -> None:
    feed = Interruptible(Feed(), lambda: True)
    before = signal.getsignal(signal.SIGURG)
    with feed.listening():
        interrupt()  # the engine has not begun
        assert feed.take(1) == []
        with pytest.raises(ValueError, match="refused"):
            feed.finish([])
        interrupt()  # an error is on its way out
    assert signal.getsignal(signal.SIGURG) == before
    interrupt()  # which nobody hears


def test_an_engine_goes_on_that_holds_a_trial() -> None:
    asked = []

    def idle() -> bool:
        asked.append(True)
        return False

    feed = Interruptible(Feed(), idle)
    with feed.listening():
        feed.report([])
        interrupt()
        interrupt()
    assert len(asked) == 2  # both were heard, and it trains on


def test_what_the_live_table_and_the_last_line_say() -> None:
    stop, cancel = Order("stop"), Order("cancel")
    assert (note("x", Order()), ended_by(Order())) == ("", "drained by a signal")
    assert note("x", Order("pause")) == "paused; it goes on with: sweeps resume x"
    assert ended_by(Order("pause")) == "drained by a signal"
    assert (ended_by(stop), ended_by(cancel)) == (
        "stopped by `sweeps stop`",
        "cancelled by `sweeps cancel`",
    )
