"""What the tests of the lanes engine share: both engines in one call, feeds, equality of curves."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import pytest
from serial_training import ListFeed, config

from sweeps import Task
from sweeps.engines.base import Objective, Outcome, Point, State, Tasks, Trial
from sweeps.engines.lanes.engine import LanesEngine
from sweeps.engines.serial import SerialEngine

LOSS = Objective("valid/loss", maximize=False)


class Offered(ListFeed):
    """Takes the state of each trial after an epoch: `at`, or the trial's own in `at`."""

    def __init__(self, *trials: Trial, at: int | Mapping[int, int], **more: Any) -> None:
        super().__init__(*trials, **more)
        self.at, self.states = at, dict[int, State]()

    def report(self, points: Sequence[Point]) -> set[int]:
        for point in points:
            at = self.at if isinstance(self.at, int) else self.at.get(point.number)
            if point.epoch == at and point.state is not None:
                self.states[point.number] = copy.deepcopy(point.state())  # the tensors are in use
        return super().report(points)


class Script(Offered):
    """Gives at most `gives` trials a time, in turn; stops trials at their epochs in `stops`.

    It refuses what no engine may do: a point that is not the trial's next, one of a trial that it
    has not been given, and a second end.
    """

    def __init__(
        self,
        *trials: Trial,
        gives: Sequence[int] = (1000,),
        stops: Mapping[int, int] | None = None,
        at: int | Mapping[int, int] = 0,
    ) -> None:
        super().__init__(*trials, at=at)
        self._gives, self._stops = cycle(gives), stops or {}
        self.trained: dict[int, int] = {}
        """The epochs of each trial in training."""

    def take(self, n: int) -> list[Trial]:
        assert n > 0
        wanted = min(n, next(self._gives))
        taken = super().take(wanted if self.trained else max(wanted, 1))  # none: nothing is left
        self.trained |= {trial.number: trial.start.epoch if trial.start else 0 for trial in taken}
        return taken

    def report(self, points: Sequence[Point]) -> set[int]:
        for point in points:
            self.trained[point.number] += 1
            assert point.epoch == self.trained[point.number]
        super().report(points)
        return {p.number for p in points if p.epoch == self._stops.get(p.number)}

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            assert outcome.epochs == self.trained.pop(outcome.number)
        super().finish(outcomes)


def serially(
    task: Task | Tasks,
    feed: ListFeed,
    precision: str = "float64",
    objective: Objective = LOSS,
    device: str = "cpu",
) -> ListFeed:
    SerialEngine(device, precision, objective).run(_tasks(task), feed)
    return feed


def in_lanes(
    task: Task | Tasks,
    feed: ListFeed,
    lanes: int | None,
    precision: str = "float64",
    objective: Objective = LOSS,
    device: str = "cpu",
    **more: Any,
) -> list[str]:
    """Train in lanes; returns what the engine said."""
    said: list[str] = []
    LanesEngine(device, precision, objective, lanes, said.append, **more).run(_tasks(task), feed)
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
    """Every curve and every end of `wanted` is the one in `found`, which has no others.

    What is not finite in one is not finite in the other: rounding may make infinity or NaN of it.
    A tolerance of 0 asks for the same bits.
    """

    def wanted_as(values: Mapping[str, float]) -> Any:
        return pytest.approx(_finite(values), rel=tolerance, abs=1e-4 * tolerance, nan_ok=True)

    curves = {(p.number, p.epoch): _finite(p.values) for p in found.points}
    assert len(curves) == len(found.points)
    assert curves.keys() == {(p.number, p.epoch) for p in wanted.points}
    for point in wanted.points:
        own = curves[point.number, point.epoch]
        assert own == wanted_as(point.values), (own, point)
    ended = {o.number: o for o in found.outcomes}
    assert sorted(o.number for o in found.outcomes) == sorted(o.number for o in wanted.outcomes)
    for outcome in wanted.outcomes:
        own_end = ended[outcome.number]
        assert (own_end.ending, own_end.epochs, own_end.step) == (
            outcome.ending,
            outcome.epochs,
            outcome.step,
        ), (own_end, outcome)
        assert _finite(own_end.test) == wanted_as(outcome.test)


def without(feed: ListFeed, *numbers: int) -> ListFeed:
    """Return what became of the other trials."""
    rest = ListFeed()
    rest.points = [point for point in feed.points if point.number not in numbers]
    rest.outcomes = [outcome for outcome in feed.outcomes if outcome.number not in numbers]
    return rest


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: x if math.isfinite(x) else math.nan for name, x in values.items()}


def _tasks(task: Task | Tasks) -> Tasks:
    return (lambda _: task) if isinstance(task, Task) else task
