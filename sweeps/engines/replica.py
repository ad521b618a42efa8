"""One model of a trial, with its optimizer, its schedule and its average of the weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optimizers import SCHEDULES, ScheduleLR, build_optimizer, build_scheduler
from sweeps.engines.base import Trial
from sweeps.engines.evaluation import Averaged, Batches, has_modes, weights_to_evaluate
from sweeps.state_tree import flatten, unflatten
from sweeps.tasks.data import Split, epoch_seed, seed_everything
from sweeps.tasks.task import Task

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

    from sweeps.config import Config
    from sweeps.engines.setting import Setting

WORTH_SECONDS = 0.5
"""An epoch of at least so long is worth a copy of the state that it began with."""


@dataclass(frozen=True)
class Data:
    """A task, its data on the device."""

    task: Task
    train: Split
    valid: Split
    test: Split | None


def mean(curves: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of the repeats' metrics."""
    return {name: sum(curve[name] for curve in curves) / len(curves) for name in curves[0]}


@dataclass(frozen=True)
class Gear:
    """What trains a model: optimizer, average of the weights, and schedule."""

    optimizer: Optimizer
    average: Averaged | None
    scheduler: ScheduleLR


def make_optimizer(config: Config, params: ParamsT) -> Optimizer:
    """Return a trial's optimizer, ready to train."""
    optimizer = build_optimizer(config.optimizer, params, config.hypers, config.switches)
    if has_modes(optimizer):
        cast(Any, optimizer).train()
    return optimizer


class Replica:
    """One model of a trial, its optimizer, its schedule and its average.

    These are made when they are asked for first: a fresh model that trains in a lane needs none.
    """

    def __init__(
        self,
        data: Data,
        trial: Trial,
        seed: int,
        model: nn.Module,
        setting: Setting,
    ) -> None:
        self._config = trial.config
        self._task, self._train, self.seed = data.task, data.train, seed
        self._batch_size = trial.config.batch_size
        self.model, self._context, self._objective = model, setting.context, setting.objective
        self._tally = setting.tally
        self._steps = data.train.steps(self._batch_size)
        self._feedback = SCHEDULES[trial.config.schedule].feedback
        self.last_step = 0  # of the last epoch: its first update with a non-finite loss, or its end

    @property
    def fresh(self) -> bool:
        """Has nothing been asked of it, so that it is at its start?"""
        return "gear" not in self.__dict__

    @cached_property
    def gear(self) -> Gear:
        """Optimizer, average and schedule, made for the weights that the model has now."""
        config, total = self._config, self._steps * self._config.epochs
        optimizer = make_optimizer(config, self.model.parameters())
        average = None
        if config.average != "none":
            average = Averaged(self.model, config, total, self._context)
        scheduler = build_scheduler(
            config.schedule,
            optimizer,
            total,
            config.schedule_hypers,
            maximize=self._objective.maximize,
            average=average.weights if average else None,
        )
        return Gear(optimizer, average, scheduler)

    @property
    def optimizer(self) -> Optimizer:
        """What updates the model."""
        return self.gear.optimizer

    @property
    def average(self) -> Averaged | None:
        """The average of its weights, where the trial has one."""
        return self.gear.average

    @property
    def scheduler(self) -> ScheduleLR:
        """What moves the learning rate."""
        return self.gear.scheduler

    def state(self) -> dict[str, Any]:
        """Return all of it that goes on after an epoch; the tensors are those of training."""
        model = self.model.state_dict()
        # The versions of the modules, by which `load_state_dict` knows how to read them.
        versions = {name: dict(each) for name, each in getattr(model, "_metadata", {}).items()}
        return {
            "model": {"state": dict(model), "versions": versions},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same configuration."""
        model = OrderedDict(state["model"]["state"])
        cast(Any, model)._metadata = state["model"]["versions"]
        self.model.load_state_dict(model)
        _load(self.optimizer, state["optimizer"])
        self.scheduler.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def epoch(self, epoch: int, valid: Split) -> dict[str, float]:
        """Train one epoch and evaluate; `train/*` are means over the epoch's batches."""
        self._tally.trained(1, self._steps, self._batch_size)
        with self._tally.spent("training"):
            return self._epoch(epoch, valid)

    def _epoch(self, epoch: int, valid: Split) -> dict[str, float]:
        self.model.train()
        losses: list[Tensor] = []
        sums = dict.fromkeys(self._task.metrics, torch.zeros((), dtype=torch.float64))
        for inputs, target in self._batches(epoch):
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
            self.scheduler.observe(values[self._objective.name])
        return values

    def steps(self) -> Iterator[object]:
        """Take an epoch's steps to see how long they last."""
        self.model.train()
        for inputs, target in self._batches(1):
            output, _ = self._step(inputs, target)
            with torch.no_grad():
                values = [metric(output, target) for metric in self._task.metrics.values()]
            yield values

    def _step(self, inputs: tuple[Tensor, ...], target: Tensor) -> tuple[Any, Tensor]:
        """One update; returns output and loss before it (L-BFGS asks for more than these)."""
        asked: list[tuple[Any, Tensor]] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            with self._context():
                output = self.model(*inputs)
                loss: Tensor = self._task.loss(output, target)
            torch.autograd.backward(loss)
            asked.append((output, loss.detach()))
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]  # a loss, as torch's docs have it
        self.scheduler.step()
        if self.average:
            self.average.weights.update()
        return asked[0]

    def _batches(self, epoch: int) -> Batches:
        """Yield an epoch's training batches, the same ones each time: a loader may draw them."""
        seed = epoch_seed(self.seed, epoch)
        seed_everything(seed)
        yield from self._train.shuffled(self._batch_size, seed)

    def evaluate(self, split_name: str, split: Split) -> dict[str, float]:
        """Return the loss and metrics over a whole split, each example weighing the same.

        An optimizer with averages of its own (Schedule-Free) is judged by these. With an `average`
        the values are the average's, and those without it are `*_raw`.
        """
        with self._tally.spent("evaluating"):
            return self._evaluate(split_name, split)

    def _evaluate(self, split_name: str, split: Split) -> dict[str, float]:
        self.model.eval()
        epoch = self.scheduler.last_epoch // self._steps
        batches = self._batches(epoch)
        own = weights_to_evaluate(self.optimizer, self.model, batches, self._context)
        with own:
            raw = self._measured(split_name, split)
        if self.average is None:
            return raw
        judged = raw
        if self.average.weights.averaged:
            with self.average.judged(self._batches(epoch)):
                judged = self._measured(split_name, split)
        return judged | {f"{name}_raw": value for name, value in raw.items()}

    @torch.no_grad()
    def _measured(self, split_name: str, split: Split) -> dict[str, float]:
        functions = {"loss": self._task.loss, **self._task.metrics}
        totals = dict.fromkeys(functions, 0.0)
        count = 0
        for inputs, target in split.ordered():
            with self._context():
                output = self.model(*inputs)
                for name, function in functions.items():
                    totals[name] += float(function(output, target)) * len(target)
            count += len(target)
        return {f"{split_name}/{name}": total / count for name, total in totals.items()}


class Start:
    """What replicas begin an epoch with, for a `Cut` in it; the copy is on the host.

    `seconds`: how long their last epoch took. What is soon trained again is not worth a copy.
    """

    def __init__(self, replicas: Sequence[Replica], seconds: float) -> None:
        self._replicas = replicas
        self._states: list[tuple[Any, dict[str, Tensor]]] = []
        if seconds >= WORTH_SECONDS:
            with suppress(Exception):  # a `state_dict` of the user's own may raise anything
                self._states = [flatten(each.state()) for each in replicas]

    def go_back(self) -> bool:
        """Bring the replicas back; False where they stay in the middle of the epoch."""
        for replica, (tree, tensors) in zip(self._replicas, self._states, strict=False):
            replica.load(unflatten(tree, tensors))
        return bool(self._states)


def _load(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load an optimizer's state in the types that it had: torch casts to those of the weights."""
    optimizer.load_state_dict(saved)
    own = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    names = chain.from_iterable(group["params"] for group in saved["param_groups"])
    for p, name in zip(own, names, strict=True):
        for key, value in saved["state"].get(name, {}).items():
            now = optimizer.state[p].get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                optimizer.state[p][key] = value.to(now.device, copy=True)
