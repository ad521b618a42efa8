"""What the engine's tests share: a feed from memory, and one call that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeps import Task
from sweeps.config import Config
from sweeps.engines.base import Objective, Outcome, Outlook, Point, Trial
from sweeps.engines.serial import SerialEngine
from sweeps.tasks import load_factory


class ListFeed:
    """Feeds given trials from memory; stops a trial at an epoch, or any between two (`leaving`)."""

    def __init__(self, *trials: Trial, stop_at: int | None = None, leaving: bool = False) -> None:
        self.waiting = list(trials)
        self.stop_at, self.leaving = stop_at, leaving
        self.points: list[Point] = []
        self.outcomes: list[Outcome] = []

    def outlook(self) -> Outlook:
        return Outlook(trials=len(self.waiting), at_once=len(self.waiting))

    def take(self, n: int) -> list[Trial]:
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return taken

    def report(self, points: Sequence[Point]) -> set[int]:
        self.points += points
        return {point.number for point in points if point.epoch == self.stop_at}

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        return set(seconds) if self.leaving else set()

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes

    def curve(self, name: str, number: int = 0) -> list[float]:
        return [point.values[name] for point in self.points if point.number == number]


def config(**changes: object) -> Config:
    settings = {
        "optimizer": "adamw",
        "hypers": {"lr": 0.01},
        "switches": {},
        "schedule": "constant",
        "schedule_hypers": {},
        "average": "none",
        "epochs": 3,
        "batch_size": 16,
        "task_args": {},
    }
    return Config(**{**settings, **changes})  # type: ignore[arg-type]


def task_of(name: str) -> Task:
    return load_factory(name, Path())()


def train(task: Task, *trials: Trial, precision: str = "float32", **feed: int) -> ListFeed:
    made = ListFeed(*trials, **feed)
    SerialEngine("cpu", precision, Objective("valid/loss", maximize=False)).run(
        lambda _: task, made
    )
    return made
