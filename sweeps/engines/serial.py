"""The serial engine: one trial at a time, any model, any loader. The reference for every other.

A trial's curve depends on its configuration and its seeds alone: initial weights come from the
seed, and each epoch's batches and dropout from (seed, epoch).

A trial with an `average` is judged by it from its start on: `valid/*` and `test/*` are those of the
averaged weights, BatchNorm's statistics worked out anew. What they are without it is `*_raw`, from
the first epoch to the last; until the average starts both are the same.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict, TypeVar

import torch

from sweeps.engines.base import Cut, Ending, Feed, Objective, Outcome, Point, State, Tasks, Trial
from sweeps.engines.replica import Data, Replica, Start, mean
from sweeps.engines.setting import Setting
from sweeps.engines.tally import Tally
from sweeps.tasks.data import Split

_T = TypeVar("_T")


class SerialEngine:
    """Trains one trial after the other with the drop-in optimizers; see `Setting`."""

    def __init__(
        self,
        device: str,
        precision: str,
        objective: Objective,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._setting = Setting(device, precision, objective, say)

    @property
    def tally(self) -> Tally:
        """What it has done so far."""
        return self._setting.tally

    def run(self, tasks: Tasks, feed: Feed) -> None:
        self._setting.warm_up()
        while trials := feed.take(1):
            for trial in trials:
                self.tally.models = self.tally.lanes = len(trial.seeds)
                feed.finish([self._train(tasks, trial, feed)])

    def _train(self, tasks: Tasks, trial: Trial, feed: Feed) -> Outcome:
        meter = _Meter(self._setting.device, trial.start)
        epoch = trial.start.epoch if trial.start else 0
        start, last_seconds = Start((), 0.0), 0.0

        def end(ending: Ending, **more: Any) -> Outcome:
            return Outcome(trial.number, ending, epoch, **meter.used(), **more)

        try:
            data = meter(partial(self._open, tasks, trial))
            replicas = meter(partial(self._setting.replicas, data, trial))
            while epoch < trial.config.epochs:
                start, before = Start(replicas, last_seconds), meter.seconds
                values = meter(partial(_epoch, replicas, epoch + 1, data.valid))
                start, epoch = Start((), 0.0), epoch + 1
                last_seconds = meter.seconds - before
                diverged = self._setting.objective.diverged(values)
                last = epoch == trial.config.epochs
                state = None if diverged or last else partial(_state, replicas, epoch, meter)
                point = Point(trial.number, epoch, values, meter.seconds, diverged, state)
                stop = trial.number in feed.report([point])
                if diverged:
                    step = min(replica.last_step for replica in replicas)
                    return end(Ending.DIVERGED, step=step)
                if stop and not last:
                    return end(Ending.STOPPED)
            measured = {}
            if data.test is not None:
                measured = meter(partial(_test, replicas, data.test))
            return end(Ending.TRAINED, test=measured)
        except Cut:
            there = start.go_back()
            state = partial(_state, replicas, epoch, meter) if there else None
            return end(Ending.STOPPED, state=state)
        except _TrialError as failure:
            error = traceback.format_exception_only(failure.cause)[-1].strip()
            trace = "".join(traceback.format_exception(failure.cause))
            return end(Ending.FAILED, error=error, traceback=trace)

    def _open(self, tasks: Tasks, trial: Trial) -> Data:
        return self._setting.open(tasks(trial.config.task_args))


class _TrialError(Exception):
    """Something that the user's model, data or loss raised; the sweep goes on."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Meter:
    """Runs the trial's own code: tells its errors from the sweep's, and measures what it takes.

    What it took until its `start` counts too.
    """

    def __init__(self, device: torch.device, start: State | None) -> None:
        self.seconds = start.seconds if start else 0.0
        self._device, self._began = device, time.perf_counter()
        self._before = start.device_seconds if start else 0.0
        self._peak = start.peak_memory if start else None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def __call__(self, call: Callable[[], _T]) -> _T:
        start = time.perf_counter()
        try:
            return call()
        except Exception as error:
            raise _TrialError(error) from error
        finally:
            self.seconds += time.perf_counter() - start

    def used(self) -> _Used:
        """Return what the trial has taken so far, as `State` and `Outcome` name it."""
        peak = self._peak
        if self._device.type == "cuda":
            peak = max(peak or 0, torch.cuda.max_memory_allocated(self._device))
        device_seconds = self._before + time.perf_counter() - self._began
        return {
            "seconds": self.seconds,
            "device_seconds": device_seconds,
            "peak_memory": peak,
        }


class _Used(TypedDict):
    seconds: float
    device_seconds: float
    peak_memory: int | None


def _state(replicas: list[Replica], epoch: int, meter: _Meter) -> State:
    return State(epoch, replicas=[replica.state() for replica in replicas], **meter.used())


def _epoch(replicas: list[Replica], epoch: int, valid: Split) -> dict[str, float]:
    return mean([replica.epoch(epoch, valid) for replica in replicas])


def _test(replicas: list[Replica], test: Split) -> dict[str, float]:
    return mean([replica.evaluate("test", test) for replica in replicas])
