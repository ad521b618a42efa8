"""The serial engine: one trial at a time, any model, any loader. The reference for every other.

A trial's curve depends on its configuration and its seeds alone: initial weights come from the
seed, and each epoch's batches and dropout from (seed, epoch).

A trial with an `average` is judged by it from its start on: `valid/*` and `test/*` are those of the
averaged weights, BatchNorm's statistics worked out anew. What they are without it is `*_raw`, from
the first epoch to the last; until the average starts both are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sweeps.engines.base import Cut, Ending, Feed, Objective, Outcome, Point, State, Tasks, Trial
from sweeps.engines.metering import Meter, TrialError, failure
from sweeps.engines.replica import Data, Replica, Start, mean
from sweeps.engines.setting import Setting
from sweeps.engines.tally import Tally
from sweeps.tasks.data import Split


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
        meter = Meter(self._setting.device, trial.start)
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
        except TrialError as raised:
            return end(Ending.FAILED, **failure(raised.cause))

    def _open(self, tasks: Tasks, trial: Trial) -> Data:
        return self._setting.open(tasks(trial.config.task_args))


def _state(replicas: list[Replica], epoch: int, meter: Meter) -> State:
    return State(epoch, replicas=[replica.state() for replica in replicas], **meter.used())


def _epoch(replicas: list[Replica], epoch: int, valid: Split) -> dict[str, float]:
    return mean([replica.epoch(epoch, valid) for replica in replicas])


def _test(replicas: list[Replica], test: Split) -> dict[str, float]:
    return mean([replica.evaluate("test", test) for replica in replicas])
