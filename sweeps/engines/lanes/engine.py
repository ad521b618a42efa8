"""`LanesEngine`: up to K trials train at once; one that ends leaves its lane to the next."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from sweeps.engines.base import Ending, Feed, Objective, Outcome, Point, Tasks, Trial
from sweeps.engines.lanes.fusing import try_fusing
from sweeps.engines.lanes.group import Data, Epoch, Group, Seat
from sweeps.tasks.data import epoch_seed, open_split, seed_everything


class LanesEngine:
    """Trains up to `lanes` trials at once; those that share a model train as one program."""

    def __init__(self, device: str, precision: str, objective: Objective, lanes: int) -> None:
        self._device = torch.device(device)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._autocast = precision == "bf16"
        self._objective, self._lanes = objective, lanes
        self._groups: dict[str, Group] = {}
        self._seconds: dict[int, float] = {}

    def run(self, tasks: Tasks, feed: Feed) -> None:
        while True:
            self._refill(tasks, feed)
            if not self._groups:
                return
            for key, group in list(self._groups.items()):
                self._epoch(group, feed)
                if not any(group.seats):
                    del self._groups[key]

    def _refill(self, tasks: Tasks, feed: Feed) -> None:
        used = sum(seat is not None for group in self._groups.values() for seat in group.seats)
        if used >= self._lanes:
            return
        for trial in feed.take(self._lanes - used):
            try:
                self._place(tasks, trial)
            except Exception as error:  # the user's own code may raise anything
                feed.finish([_failed(trial.number, 0, 0.0, error)])

    def _place(self, tasks: Tasks, trial: Trial) -> None:
        config = trial.config
        key = json.dumps([config.task_args, config.batch_size], sort_keys=True)
        models = []
        task = tasks(config.task_args)
        for seed in trial.seeds:
            seed_everything(epoch_seed(seed, 0))
            models.append(task.model().to(self._device, self._dtype))
        if key not in self._groups:
            self._groups[key] = self._make(tasks, trial)
        group = self._groups[key]
        for lane, seed, model in zip(group.free(), trial.seeds, models, strict=False):
            group.seat(lane, trial, seed, model)
        self._seconds[trial.number] = 0.0

    def _make(self, tasks: Tasks, trial: Trial) -> Group:
        task = tasks(trial.config.task_args)
        place = partial(open_split, device=self._device, dtype=self._dtype)
        test = None if task.test is None else place("test", task.test)
        data = Data(task, place("train", task.train), place("valid", task.valid), test)
        size = trial.config.batch_size
        batch = next(iter(data.train.shuffled(size, 0)))

        def make() -> torch.nn.Module:
            return task.model().to(self._device, self._dtype)

        fusing = try_fusing(make, batch, task.loss, self._context)
        return Group(
            data, size, self._lanes, fusing, make(), self._context,
            metric=self._objective.name, maximize=self._objective.maximize,
        )

    def _epoch(self, group: Group, feed: Feed) -> None:
        start = time.perf_counter()
        epochs = group.epoch()
        seconds = time.perf_counter() - start
        points, steps = [], {}
        for number, lanes in _by_trial(group).items():
            self._seconds[number] += seconds
            values = _mean([epochs[lane].values for lane in lanes])
            seat = group.seats[lanes[0]]
            steps[number] = min(epochs[lane].last_step for lane in lanes)
            points.append(Point(number, seat.epoch, values, self._seconds[number], self._diverged(values)))
        stop = feed.report(points)
        outcomes, trained = [], []
        for point in points:
            end = partial(Outcome, point.number)
            lanes = _by_trial(group)[point.number]
            epochs_in_all = group.seats[lanes[0]].trial.config.epochs
            if point.diverged:
                outcomes.append(end(Ending.DIVERGED, point.epoch, point.seconds, step=steps[point.number]))
            elif point.epoch == epochs_in_all:
                trained.append(point)
            elif point.number in stop:
                outcomes.append(end(Ending.STOPPED, point.epoch, point.seconds))
        if trained:
            tests = group.evaluate("test", group.data.test) if group.data.test is not None else None
            for point in trained:
                lanes = _by_trial(group)[point.number]
                measured = _mean([tests[lane] for lane in lanes]) if tests else {}
                outcomes.append(Outcome(point.number, Ending.TRAINED, point.epoch, point.seconds, test=measured))
        for outcome in outcomes:
            group.leave(outcome.number)
        if outcomes:
            feed.finish(outcomes)

    def _diverged(self, values: Mapping[str, float]) -> bool:
        judged = ("train/loss", "valid/loss", self._objective.name)
        return not all(math.isfinite(values[name]) for name in judged)

    def _context(self) -> AbstractContextManager[object]:
        if self._autocast:
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()


def _by_trial(group: Group) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for lane, seat in enumerate(group.seats):
        if seat is not None:
            found.setdefault(seat.trial.number, []).append(lane)
    return found


def _failed(number: int, epoch: int, seconds: float, error: Exception) -> Outcome:
    return Outcome(
        number, Ending.FAILED, epoch, seconds,
        error=traceback.format_exception_only(error)[-1].strip(),
        traceback="".join(traceback.format_exception(error)),
    )


def _mean(curves: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(curve[name] for curve in curves) / len(curves) for name in curves[0]}
