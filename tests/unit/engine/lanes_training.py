"""What the tests of lanes share: the same trials in both engines, and their comparison."""

from __future__ import annotations

from typing import Any

import pytest
from serial_training import ListFeed, config

from sweeps import Task
from sweeps.engines.base import Objective, Trial
from sweeps.engines.lanes.engine import LanesEngine
from sweeps.engines.serial import SerialEngine

LOSS = Objective("valid/loss", maximize=False)


def serially(task: Task, feed: ListFeed, precision: str = "float64") -> ListFeed:
    SerialEngine("cpu", precision, LOSS).run(lambda _: task, feed)
    return feed


def in_lanes(
    task: Task, feed: ListFeed, lanes: int | None, precision: str = "float64", **more: Any
) -> list[str]:
    said: list[str] = []
    LanesEngine("cpu", precision, LOSS, lanes, said.append, **more).run(lambda _: task, feed)
    return said


def mixed(count: int, **changes: Any) -> list[Trial]:
    """Trials with other algorithms, schedules, averages and lengths in turn."""
    optimizers = [
        ("adamw", {"lr": 0.003}),
        ("sgd", {"lr": 0.05, "momentum": 0.9}),
        ("schedule_free_adamw", {"lr": 0.01}),
        ("prodigy", {"lr": 1.0}),
        ("lion", {"lr": 0.0005}),
    ]
    schedules = ["cosine", "one_cycle", "plateau", "constant", "step"]
    averages = ["none", "none", "swa", "ema"]
    trials = []
    for n in range(count):
        name, hypers = optimizers[n % 5]
        schedule = schedules[(n + n // 5) % 5]
        average = averages[n % 4] if name != "schedule_free_adamw" else "none"
        settings = {"optimizer": name, "hypers": hypers, "schedule": schedule, "average": average}
        made = config(**{**settings, "epochs": 3 + n % 3, "batch_size": 32, **changes})
        trials.append(Trial(n, made, (100 + n,)))
    return trials


def assert_equal(found: ListFeed, wanted: ListFeed, tolerance: float = 1e-8) -> None:
    curves = {(p.number, p.epoch): dict(p.values) for p in found.points}
    assert curves.keys() == {(p.number, p.epoch) for p in wanted.points}
    for point in wanted.points:
        assert curves[point.number, point.epoch] == pytest.approx(
            dict(point.values), rel=tolerance, nan_ok=True
        ), point
    ended = {o.number: o for o in found.outcomes}
    for outcome in wanted.outcomes:
        own = ended[outcome.number]
        assert (own.ending, own.epochs, own.step) == (outcome.ending, outcome.epochs, outcome.step)
        assert dict(own.test) == pytest.approx(dict(outcome.test), rel=tolerance)
