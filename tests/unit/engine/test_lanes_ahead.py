"""Asking for the next trials while the present ones train."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from lane_training import LOSS, assert_equal, mixed, serially
from serial_training import ListFeed, task_of

from sweeps import Task
from sweeps.engines.base import Ending, Point, Trial
from sweeps.engines.lanes.engine import LanesEngine


class Watching(ListFeed):
    """Gives three trials at once, then what is asked for; notes which thread has asked when."""

    def __init__(self, *trials: Trial) -> None:
        super().__init__(*trials)
        self.asked: list[bool] = []  # ahead?
        self.stopping = False

    def take(self, n: int) -> list[Trial]:
        ahead = threading.current_thread() is not threading.main_thread()
        self.asked.append(ahead)
        return super().take(n)

    def report(self, points: Sequence[Point]) -> set[int]:
        assert threading.current_thread() is threading.main_thread()
        return super().report(points)

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        return set(seconds) if self.stopping else set()


def engine() -> LanesEngine:
    return LanesEngine("cpu", "float64", LOSS, 3, compiling=False, ahead=True)


def test_the_curves_are_those_of_one_by_one() -> None:
    task, lanes = task_of("iris-mlp"), Watching(*mixed(11))
    engine().run(lambda _: task, lanes)
    assert lanes.asked.count(True) >= 2
    assert_equal(lanes, serially(task, ListFeed(*mixed(11))))


def test_training_goes_on_meanwhile() -> None:
    trained = threading.Event()
    iris = task_of("iris-mlp")

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        trained.set()
        return iris.loss(output, target)

    class Slow(Watching):
        def take(self, n: int) -> list[Trial]:
            if threading.current_thread() is not threading.main_thread():
                trained.clear()
                seen.append(trained.wait(20))
            return super().take(n)

    seen: list[bool] = []
    task: Task = replace(iris, loss=loss)
    engine().run(lambda _: task, Slow(*mixed(8)))
    assert seen
    assert all(seen)


def test_who_waits_and_is_to_stop_goes_back_untrained() -> None:
    class Draining(Watching):
        def report(self, points: Sequence[Point]) -> set[int]:
            self.stopping = self.stopping or len(self.points) > 4
            return super().report(points) | {p.number for p in points if self.stopping}

        def take(self, n: int) -> list[Trial]:
            return super().take(n) if not self.stopping else []

    feed = Draining(*mixed(30))
    engine().run(lambda _: task_of("iris-mlp"), feed)
    ended = {outcome.number: outcome for outcome in feed.outcomes}
    trained = {point.number for point in feed.points}
    given = 30 - len(feed.waiting)
    assert sorted(ended) == list(range(given))  # each that was given, and once
    assert len(feed.outcomes) == given
    back = set(ended) - trained
    assert back
    assert all((ended[n].ending, ended[n].epochs) == (Ending.STOPPED, 0) for n in back)


def test_what_asking_raises_reaches_the_engine_s_caller() -> None:
    class Broken(Watching):
        def take(self, n: int) -> list[Trial]:
            if threading.current_thread() is not threading.main_thread():
                raise RuntimeError("the study DB is gone")
            return super().take(n)

    with pytest.raises(RuntimeError, match="the study DB is gone"):
        engine().run(lambda _: task_of("iris-mlp"), Broken(*mixed(8)))
    assert not [thread for thread in threading.enumerate() if thread.name == "asking"]
