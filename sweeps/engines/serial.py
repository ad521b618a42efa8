"""The serial engine: one trial at a time, any model, any loader. The reference for every other.

A trial's curve depends on its configuration and its seeds alone: initial weights come from the
seed, and each epoch's batches and dropout from (seed, epoch).

A trial with an `average` is judged by it from its start on: `valid/*` and `test/*` are those of the
averaged weights, BatchNorm's statistics worked out anew. What they are without it is `*_raw`, from
the first epoch to the last; until the average starts both are the same.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from optimizers import SCHEDULES, build_optimizer, build_scheduler
from sweeps.engines.base import Ending, Feed, Objective, Outcome, Point, Tasks, Trial
from sweeps.engines.evaluation import Averaged, Batches, has_modes, weights_to_evaluate
from sweeps.tasks.data import Split, epoch_seed, open_split, seed_everything
from sweeps.tasks.task import Task

_T = TypeVar("_T")


class SerialEngine:
    """Trains one trial after the other with the drop-in optimizers.

    `precision` is `float32`, `float64`, or `bf16`: float32 weights, the forward pass in autocast.
    """

    def __init__(self, device: str, precision: str, objective: Objective) -> None:
        self._device = torch.device(device)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._autocast = precision == "bf16"
        self._objective = objective
        self._data: _Data | None = None

    def run(self, tasks: Tasks, feed: Feed) -> None:
        # torch's first optimizer imports its compiler (0.9 s), which is not the first trial's time
        torch.optim.SGD([torch.zeros(1)])
        while trials := feed.take(1):
            for trial in trials:
                feed.finish([self._train(tasks, trial, feed)])

    def _train(self, tasks: Tasks, trial: Trial, feed: Feed) -> Outcome:
        guard = _Guard()
        end = partial(Outcome, trial.number)
        epoch = 0
        try:
            data = guard(partial(self._open, tasks, trial))
            replicas = guard(lambda: [self._replica(data, trial, seed) for seed in trial.seeds])
            for epoch in range(1, trial.config.epochs + 1):
                values = guard(partial(_epoch, replicas, epoch, data.valid))
                diverged = self._diverged(values)
                point = Point(trial.number, epoch, values, guard.seconds, diverged)
                stop = trial.number in feed.report([point])
                if diverged:
                    step = min(replica.last_step for replica in replicas)
                    return end(Ending.DIVERGED, epoch, guard.seconds, step=step)
                if stop and epoch < trial.config.epochs:
                    return end(Ending.STOPPED, epoch, guard.seconds)
            measured = {}
            if data.test is not None:
                measured = guard(partial(_test, replicas, data.test))
            return end(Ending.TRAINED, epoch, guard.seconds, test=measured)
        except _TrialError as failure:
            return end(
                Ending.FAILED,
                epoch,
                guard.seconds,
                error=traceback.format_exception_only(failure.cause)[-1].strip(),
                traceback="".join(traceback.format_exception(failure.cause)),
            )

    def _diverged(self, values: Mapping[str, float]) -> bool:
        judged = ("train/loss", "valid/loss", self._objective.name)
        return not all(math.isfinite(values[name]) for name in judged)

    def _open(self, tasks: Tasks, trial: Trial) -> _Data:
        """Return the trial's task on the device; its tensors stay there for the next trial."""
        task = tasks(trial.config.task_args)
        if self._data is None or self._data.task is not task:
            place = partial(open_split, device=self._device, dtype=self._dtype)
            test = None if task.test is None else place("test", task.test)
            self._data = _Data(task, place("train", task.train), place("valid", task.valid), test)
        return self._data

    def _replica(self, data: _Data, trial: Trial, seed: int) -> _Replica:
        seed_everything(epoch_seed(seed, 0))
        model = data.task.model().to(self._device, self._dtype)
        return _Replica(data, trial, seed, model, self._context, self._objective)

    def _context(self) -> AbstractContextManager[object]:
        if self._autocast:
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()


@dataclass(frozen=True)
class _Data:
    """A task, its data on the device."""

    task: Task
    train: Split
    valid: Split
    test: Split | None


class _Replica:
    """One model of a trial, its optimizer, its schedule and its average."""

    def __init__(
        self,
        data: _Data,
        trial: Trial,
        seed: int,
        model: nn.Module,
        context: Callable[[], AbstractContextManager[object]],
        objective: Objective,
    ) -> None:
        config = trial.config
        self._task, self._train, self._seed = data.task, data.train, seed
        self._batch_size = config.batch_size
        self._model, self._context, self._objective = model, context, objective
        self._optimizer = build_optimizer(
            config.optimizer, model.parameters(), config.hypers, config.switches
        )
        if has_modes(self._optimizer):
            cast(Any, self._optimizer).train()
        self._steps = data.train.steps(config.batch_size)
        total = self._steps * config.epochs
        self._average: Averaged | None = None
        if config.average != "none":
            self._average = Averaged(model, config, total, context)
        self._scheduler = build_scheduler(
            config.schedule,
            self._optimizer,
            total,
            config.schedule_hypers,
            maximize=objective.maximize,
            average=self._average.weights if self._average else None,
        )
        self._feedback = SCHEDULES[config.schedule].feedback
        self._epoch_seed = 0  # of the present epoch
        self.last_step = 0  # of the last epoch: its first update with a non-finite loss, or its end

    def epoch(self, epoch: int, valid: Split) -> dict[str, float]:
        """Train one epoch and evaluate; `train/*` are means over the epoch's batches."""
        self._epoch_seed = epoch_seed(self._seed, epoch)
        seed_everything(self._epoch_seed)
        self._model.train()
        losses: list[Tensor] = []
        sums = dict.fromkeys(self._task.metrics, torch.zeros((), dtype=torch.float64))
        for inputs, target in self._batches():
            output, loss = self._step(inputs, target)
            losses.append(loss)
            with torch.no_grad():
                for name, metric in self._task.metrics.items():
                    sums[name] = sums[name] + metric(output, target)
        curve = torch.stack(losses).double()
        values = {"train/loss": curve.mean().item()}
        values |= {f"train/{name}": float(total) / len(losses) for name, total in sums.items()}
        values |= self.evaluate("valid", valid)
        bad = (~curve.isfinite()).nonzero()
        inside = int(bad[0]) + 1 if len(bad) else self._steps
        self.last_step = (epoch - 1) * self._steps + inside
        if self._feedback:
            self._scheduler.observe(values[self._objective.name])
        return values

    def _step(self, inputs: tuple[Tensor, ...], target: Tensor) -> tuple[Any, Tensor]:
        """One update; returns output and loss before it (L-BFGS asks for more than these)."""
        asked: list[tuple[Any, Tensor]] = []

        def closure() -> Tensor:
            self._optimizer.zero_grad()
            with self._context():
                output = self._model(*inputs)
                loss: Tensor = self._task.loss(output, target)
            torch.autograd.backward(loss)
            asked.append((output, loss.detach()))
            return loss

        self._optimizer.step(closure)  # type: ignore[arg-type]  # a loss, as torch's docs have it
        self._scheduler.step()
        if self._average:
            self._average.weights.update()
        return asked[0]

    def _batches(self) -> Batches:
        """Return the present epoch's training batches."""
        return self._train.shuffled(self._batch_size, self._epoch_seed)

    def evaluate(self, split_name: str, split: Split) -> dict[str, float]:
        """Return the loss and metrics over a whole split, each example weighing the same.

        An optimizer with averages of its own (Schedule-Free) is judged by these. With an `average`
        the values are the average's, and those without it are `*_raw`.
        """
        self._model.eval()
        own = weights_to_evaluate(self._optimizer, self._model, self._batches(), self._context)
        with own:
            raw = self._measured(split_name, split)
        if self._average is None:
            return raw
        judged = raw
        if self._average.weights.averaged:
            with self._average.judged(self._batches()):
                judged = self._measured(split_name, split)
        return judged | {f"{name}_raw": value for name, value in raw.items()}

    @torch.no_grad()
    def _measured(self, split_name: str, split: Split) -> dict[str, float]:
        functions = {"loss": self._task.loss, **self._task.metrics}
        totals = dict.fromkeys(functions, 0.0)
        count = 0
        for inputs, target in split.ordered():
            with self._context():
                output = self._model(*inputs)
                for name, function in functions.items():
                    totals[name] += float(function(output, target)) * len(target)
            count += len(target)
        return {f"{split_name}/{name}": total / count for name, total in totals.items()}


class _TrialError(Exception):
    """Something that the user's model, data or loss raised; the sweep goes on."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Guard:
    """Runs the trial's own code: counts its seconds, and tells its errors from the sweep's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, call: Callable[[], _T]) -> _T:
        start = time.perf_counter()
        try:
            return call()
        except Exception as error:
            raise _TrialError(error) from error
        finally:
            self.seconds += time.perf_counter() - start


def _epoch(replicas: list[_Replica], epoch: int, valid: Split) -> dict[str, float]:
    return _mean([replica.epoch(epoch, valid) for replica in replicas])


def _test(replicas: list[_Replica], test: Split) -> dict[str, float]:
    return _mean([replica.evaluate("test", test) for replica in replicas])


def _mean(curves: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(curve[name] for curve in curves) / len(curves) for name in curves[0]}
