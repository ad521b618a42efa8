"""`Group`: trials that share model, data and batch size, trained an epoch at a time.

All lanes of a group take the same number of steps in an epoch, so they begin and end it together:
a lane is given to the next trial between two epochs, while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optimizers import LaneOptimizer
from optimizers.weight_average import LaneAverages
from sweeps.engines.base import Trial
from sweeps.engines.lanes.batches import side_by_side
from sweeps.engines.lanes.fusing import Fusing
from sweeps.engines.lanes.judging import Judge
from sweeps.engines.lanes.pace import Pace, average_of, columns, momentum_name, rule_of
from sweeps.engines.lanes.stack import Stack
from sweeps.tasks.data import Batch, Split, epoch_seed, seed_everything
from sweeps.tasks.task import Task


@dataclass
class Seat:
    """One lane's trial: one of its repeats."""

    trial: Trial
    seed: int
    pace: Pace
    momentum: str | None  # which of its knobs the schedule moves
    epoch: int = 0  # trained so far


@dataclass
class Epoch:
    """What an epoch measured in one lane."""

    values: dict[str, float]
    last_step: int  # the first update with a non-finite loss, or the epoch's last one


@dataclass(frozen=True)
class Data:
    """A task and its data on the device."""

    task: Task
    train: Split
    valid: Split
    test: Split | None


class Group:
    """Up to `lanes` models in training together."""

    def __init__(
        self,
        data: Data,
        batch_size: int,
        lanes: int,
        fusing: Fusing,
        like: nn.Module,
        context: Callable[[], AbstractContextManager[object]],
        *,
        metric: str,
        maximize: bool,
    ) -> None:
        self.data, self._batch_size = data, batch_size
        self._metric, self._maximize = metric, maximize
        self._steps = data.train.steps(batch_size)
        self.stack = Stack(
            like, lanes, fused=fusing.fused, untrained=fusing.untrained, context=context
        )
        self.seats: list[Seat | None] = [None] * lanes
        self._optimizer: LaneOptimizer | None = None
        self._averages: LaneAverages | None = None
        functions = {"loss": data.task.loss, **data.task.metrics}
        self._judge = Judge(self.stack, functions, self._last_batches)

    def free(self) -> list[int]:
        """Return the lanes without a trial."""
        return [lane for lane, seat in enumerate(self.seats) if seat is None]

    def seat(self, lane: int, trial: Trial, seed: int, model: nn.Module) -> None:
        """Give a lane to one repeat of a trial, from its first epoch."""
        config = trial.config
        total = self._steps * config.epochs
        rule, hypers = rule_of(config)
        if self._optimizer is None:
            first = {name: torch.full((len(self.seats),), x) for name, x in hypers.items()}
            self._optimizer = LaneOptimizer(rule, self.stack.flat, self.stack.shapes, first)
        self._optimizer.reset(lane, hypers, rule)
        self.stack.put(lane, model)
        average = average_of(config)
        if average is not None and self._averages is None:
            none = [None] * len(self.seats)
            totals = torch.ones(len(self.seats), dtype=torch.float64)
            self._averages = LaneAverages(none, self.stack.flat.detach(), totals, {})
        if self._averages is not None:
            self._averages.reset(lane, average, total, config.average_hypers)
            self._judge.forget(lane)
        pace = Pace(config, total, maximize=self._maximize)
        self.seats[lane] = Seat(trial, seed, pace, momentum_name(rule))

    def leave(self, number: int) -> None:
        """Free the lanes of a trial."""
        self.seats = [None if s is not None and s.trial.number == number else s for s in self.seats]

    def epoch(self) -> dict[int, Epoch]:
        """Train all lanes one epoch and evaluate; what each measured, by lane."""
        seats = {lane: seat for lane, seat in enumerate(self.seats) if seat is not None}
        for seat in seats.values():
            seat.epoch += 1
        seeds = self._seeds()
        seed_everything(seeds[0])
        losses, metrics = self._train(seeds)
        values = self.evaluate("valid", self.data.valid)
        found = {}
        for lane, seat in seats.items():
            curve = losses[:, lane]
            own = {"train/loss": curve.mean().item()}
            own |= {f"train/{name}": float(total[lane]) for name, total in metrics.items()}
            own |= values[lane]
            bad = (~curve.isfinite()).nonzero()
            inside = int(bad[0]) + 1 if len(bad) else self._steps
            found[lane] = Epoch(own, (seat.epoch - 1) * self._steps + inside)
            seat.pace.observe(own[self._metric])
        return found

    def evaluate(self, name: str, split: Split) -> list[dict[str, float]]:
        """Return each lane's loss and metrics over a whole split."""
        assert self._optimizer is not None
        values = self._judge.evaluate(name, split, self._optimizer, self._averages)
        columns = {n: value.tolist() for n, value in values.items()}
        found = []
        for lane, seat in enumerate(self.seats):
            own = {n: column[lane] for n, column in columns.items()}
            if seat is None or seat.trial.config.average == "none":
                own = {n: value for n, value in own.items() if not n.endswith("_raw")}
            found.append(own)
        return found

    def _seeds(self) -> list[int]:
        """Return the seeds of the lanes' present epochs; an idle lane goes with the first one."""
        own = [None if s is None else epoch_seed(s.seed, s.epoch) for s in self.seats]
        first = next(seed for seed in own if seed is not None)
        return [first if seed is None else seed for seed in own]

    def _last_batches(self) -> Iterator[Batch]:
        return side_by_side(self.data.train, self._batch_size, self._seeds())

    def _train(self, seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take the steps of an epoch; losses [S, K] and the metrics' means over the steps, [K]."""
        assert self._optimizer is not None
        task, stack, optimizer = self.data.task, self.stack, self._optimizer
        factors, momenta, active = self._tables()
        moved = momenta.isfinite().any().item()
        losses, sums = [], {name: 0 for name in task.metrics}
        batches = side_by_side(self.data.train, self._batch_size, seeds)
        for step, (inputs, target) in enumerate(batches):
            output, loss = stack.train(inputs, target, task.loss)
            losses.append(loss)
            for name, value in stack.judge(output, target, task.metrics, apart=True).items():
                sums[name] = sums[name] + value
            if moved:
                self._move_momentum(momenta[step])
            optimizer.step(stack.flat.grad, factors[step], active=active)
            if self._averages is not None:
                self._averages.update(stack.flat.detach(), active)
        count = len(losses)
        return torch.stack(losses).double(), {name: total / count for name, total in sums.items()}

    def _tables(self) -> tuple[Tensor, Tensor, Tensor | None]:
        device = self.stack.flat.device
        tables = [
            None if seat is None else seat.pace.table((seat.epoch - 1) * self._steps, self._steps)
            for seat in self.seats
        ]
        factors, momenta = columns(tables, self._steps)
        busy = [seat is not None for seat in self.seats]
        active = None if all(busy) else torch.tensor(busy, device=device)
        return factors.to(device), momenta.to(device), active

    def _move_momentum(self, values: Tensor) -> None:
        assert self._optimizer is not None
        for name in ("beta1", "momentum"):
            lanes = [seat is not None and seat.momentum == name for seat in self.seats]
            here = torch.tensor(lanes, device=values.device) & values.isfinite()
            if here.any():
                column = self._optimizer.hypers[name]
                self._optimizer.hypers[name] = values.where(here, column)

