"""What a worker does in numbers: from a tally, over a while, of several together."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise

import pytest

from sweeps.engines.tally import PHASES, Reading, Tally
from sweeps.numbers import WINDOW_SECONDS, Gauge, Numbers, together


class Clock:
    """A tally by hand: each step of it trains an epoch of 100 steps in so many seconds."""

    def __init__(self) -> None:
        self.now = Reading(0.0, dict.fromkeys(PHASES, 0.0), 0, 0, 2, 4)

    def read(self) -> Reading:
        return self.now

    def goes_on(self, seconds: float, steps: int, asking: float = 0.0) -> None:
        before = self.now
        phases = before.phases | {
            "asking": before.phases["asking"] + asking,
            "training": before.phases["training"] + (seconds - asking if steps else 0.0),
        }
        steps += before.steps
        self.now = Reading(before.seconds + seconds, phases, steps, 32 * steps, 2, 4)


def test_paces_and_shares_are_those_since_the_start_at_first() -> None:
    clock = Clock()
    gauge = Gauge(clock.read)
    clock.goes_on(4.0, 100, asking=1.0)
    found = gauge.numbers()
    assert (found.models, found.lanes, found.steps, found.examples) == (2, 4, 100, 3200)
    assert (found.steps_per_second, found.examples_per_second) == (25.0, 800.0)
    assert found.shares == {"asking": 0.25, "training": 0.75, "evaluating": 0.0, "reporting": 0.0}


def test_what_was_slow_long_ago_does_not_count() -> None:
    clock = Clock()
    gauge = Gauge(clock.read)
    clock.goes_on(100.0, 100)
    assert gauge.numbers().steps_per_second == 1.0
    for _ in range(int(WINDOW_SECONDS)):
        clock.goes_on(1.0, 100)
        found = gauge.numbers()
    assert found.steps_per_second == 100.0
    assert found.steps == 100 * (1 + WINDOW_SECONDS)


def test_an_epoch_that_lasts_longer_than_the_window_has_one_pace() -> None:
    clock = Clock()
    gauge = Gauge(clock.read)
    paces = []
    for _ in range(3):
        for _ in range(9):
            clock.goes_on(10.0, 0)
            paces.append(gauge.numbers().steps_per_second)
        clock.goes_on(10.0, 100)
        paces.append(gauge.numbers().steps_per_second)
    assert paces[9:] == [1.0] * len(paces[9:])


def test_who_has_stopped_training_slows_down() -> None:
    clock = Clock()
    gauge = Gauge(clock.read)
    clock.goes_on(10.0, 1000)
    assert gauge.numbers().steps_per_second == 100.0
    paces = []
    for _ in range(20):
        clock.goes_on(10.0, 0)
        paces.append(gauge.numbers().steps_per_second)
    assert all(later <= earlier for earlier, later in pairwise(paces))
    assert paces[-1] == pytest.approx(1000 / 210)


def test_json_goes_there_and_back_and_a_newer_version_may_say_more() -> None:
    clock = Clock()
    clock.goes_on(4.0, 100)
    found = Gauge(clock.read).numbers()
    said = json.loads(json.dumps(found.as_json()))
    assert Numbers.from_json(said | {"watts": 300}) == found


def test_several_workers_together() -> None:
    shares = dict.fromkeys(PHASES, 0.0)
    one = Numbers(2, 4, 100, 3200, 9.0, 10.0, 320.0, shares | {"training": 0.9})
    two = Numbers(8, 8, 900, 100, 5.0, 90.0, 10.0, shares | {"asking": 0.5})
    both = Numbers(
        10, 12, 1000, 3300, 9.0, 100.0, 330.0, shares | {"asking": 0.25, "training": 0.45}
    )
    assert together([one, two]) == both
    assert together([]) is None


def test_a_phase_that_goes_on_counts_and_one_within_is_not_counted_twice() -> None:
    tally = Tally()
    with tally.spent("training"):
        time.sleep(0.02)
        inside = tally.read()
        with tally.spent("evaluating"):
            time.sleep(0.03)
            within = tally.read()
    after = tally.read()
    assert inside.phases["training"] >= 0.02
    assert within.phases["evaluating"] >= 0.03
    assert within.phases["training"] == pytest.approx(after.phases["training"], abs=0.01)
    assert sum(after.phases.values()) <= after.seconds


def test_readings_from_another_thread_never_run_ahead_of_the_clock() -> None:
    tally, ended = Tally(), threading.Event()

    def train() -> None:
        while not ended.is_set():
            with tally.spent("training"), tally.spent("evaluating"):
                pass

    thread = threading.Thread(target=train)
    thread.start()
    try:
        readings = [tally.read() for _ in range(2000)]
    finally:
        ended.set()
        thread.join()
    for earlier, later in pairwise(readings):
        passed = sum(later.phases.values()) - sum(earlier.phases.values())
        assert -1e-9 <= passed <= later.seconds - earlier.seconds + 1e-6
