"""`Group`: models in training together, those that share architecture, data and batch size.

All lanes of a group take the same number of steps in an epoch, so they begin and end it together:
a lane is given to the next trial between two epochs, while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from optimizers import LaneOptimizer
from optimizers.drop_in import RuleOptimizer
from optimizers.lane_exchange import state_from_drop_in, state_to_drop_in
from optimizers.lane_tables import Tables, can_tabulate
from optimizers.weight_average import LaneAverages
from sweeps.config import Config
from sweeps.engines.lanes.average_exchange import fill_average, take_average
from sweeps.engines.lanes.batches import side_by_side
from sweeps.engines.lanes.judging import Judge
from sweeps.engines.lanes.pace import Pace, average_of, columns, momentum_name, rule_of
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.stack import Stack
from sweeps.engines.lanes.stepping import Stepper
from sweeps.engines.replica import Data, Replica
from sweeps.engines.setting import Setting
from sweeps.tasks.data import Batch, Split, epoch_seed, seed_everything

MOST_TOGETHER = 4
"""Algorithms that are all worked out for all lanes, each keeping its own; more go row by row."""


@dataclass
class Seat:
    """Who has a lane: one repeat of a trial."""

    config: Config
    seed: int
    pace: Pace
    momentum: str | None  # which of its knobs the schedule moves
    epoch: int  # trained so far


@dataclass(frozen=True)
class Measured:
    """What an epoch measured in one lane."""

    values: dict[str, float]
    last_step: int  # the first update with a non-finite loss, or the epoch's last one


class Group:
    """Up to `lanes` models of one task in training together; `untrained` as `Stack` has it."""

    def __init__(
        self,
        data: Data,
        batch_size: int,
        lanes: int,
        setting: Setting,
        untrained: frozenset[str],
        programs: Programs,
        key: str,
    ) -> None:
        self._data, self._batch_size, self._objective = data, batch_size, setting.objective
        self._steps, self._tally = data.train.steps(batch_size), setting.tally
        like = setting.model(data)
        self._stack = Stack(like, lanes, untrained=untrained, context=setting.context)
        self._seats: list[Seat | None] = [None] * lanes
        self._optimizer: LaneOptimizer | None = None
        self._averages: LaneAverages | None = None
        functions = {"loss": data.task.loss, **data.task.metrics}
        self._stepper = Stepper(self._stack, data.task, data.train, batch_size, programs, key)
        self._judge = Judge(self._stack, functions, self._last_batches)
        self.seconds = 0.0
        """That its last epoch took."""

    @property
    def size(self) -> int:
        """K."""
        return len(self._seats)

    @property
    def free(self) -> list[int]:
        """The lanes that nobody has."""
        return [lane for lane, seat in enumerate(self._seats) if seat is None]

    def seat(self, lane: int, config: Config, replica: Replica) -> None:
        """Give a lane to a model, as far as its replica has come."""
        rule, hypers = rule_of(config)
        stack, lanes, total = self._stack, len(self._seats), self._steps * config.epochs
        if self._optimizer is None:
            first = {
                name: torch.full((lanes,), x, dtype=torch.float64) for name, x in hypers.items()
            }
            self._optimizer = LaneOptimizer(rule, stack.flat, stack.shapes, first, whole=True)
        self._optimizer.reset(lane, hypers, rule)
        if len(self._optimizer.rows) > MOST_TOGETHER or not can_tabulate(self._optimizer):
            self._optimizer.part()
        stack.put(lane, replica.model)
        pace, epoch = Pace(config, total, maximize=self._objective.maximize), 0
        self._begin_average(lane, config, total, replica)
        if not replica.fresh:
            drop_in = cast(RuleOptimizer, replica.optimizer)
            state_from_drop_in(self._optimizer, lane, drop_in, stack.trained(replica.model))
            pace.begin(replica.scheduler.state)
            epoch = replica.scheduler.last_epoch // self._steps
        stack.used.add(lane)
        self._seats[lane] = Seat(config, replica.seed, pace, momentum_name(rule), epoch)

    def leave(self, lane: int) -> None:
        """Free a lane."""
        self._seats[lane] = None
        self._stack.used.discard(lane)

    def fill(self, lane: int, replica: Replica) -> None:
        """Bring a fresh replica of a lane's model to where the lane is."""
        seat, optimizer = self._seats[lane], self._optimizer
        assert seat is not None
        assert optimizer is not None
        gear = replica.gear
        self._stack.take(lane, replica.model)
        params = self._stack.trained(replica.model)
        state_to_drop_in(optimizer, lane, cast(RuleOptimizer, gear.optimizer), params)
        gear.scheduler.go_to(seat.epoch * self._steps, seat.pace.state)
        if gear.average is not None and self._averages is not None:
            fill_average(gear.average, lane, self._stack, self._averages, self._judge)

    def keep(self) -> Callable[[], None]:
        """Return a function that brings every lane back to where it is now."""
        stack, optimizer, averages = self._stack, self._optimizer, self._averages
        assert optimizer is not None
        flat = stack.flat.clone()
        held = {name: x.clone() for name, x in stack.held.items()}
        state, average = optimizer.state_dict(), None if averages is None else averages.state_dict()
        judged = self._judge.keep()
        seats = [(seat, seat.epoch, seat.pace.state) for seat in self._seats if seat is not None]

        def restore() -> None:
            with torch.no_grad():
                stack.flat.copy_(flat)
            stack.held = held
            optimizer.load_state_dict(state)
            if averages is not None and average is not None:
                averages.load_state_dict(average)
            judged()
            for seat, epoch, before in seats:
                seat.epoch = epoch
                seat.pace.begin(before)

        return restore

    def epoch(self) -> dict[int, Measured]:
        """Train all lanes one epoch and evaluate; what each measured, by lane."""
        for seat in self._seats:
            if seat is not None:
                seat.epoch += 1
        seeds = self._seeds()
        seed_everything(seeds[0])
        with self._tally.spent("training"):
            losses, metrics = self._train(seeds)
        self._tally.trained(self.size - len(self.free), self._steps, self._batch_size)
        values = self.evaluate("valid", self._data.valid)
        metrics = {"loss": losses.mean(dim=0), **metrics}
        trained = {f"train/{name}": mean.tolist() for name, mean in metrics.items()}
        finite = torch.cat([losses.isfinite(), torch.zeros(1, self.size, dtype=torch.bool)])
        first_bad = finite.byte().argmin(dim=0).tolist()  # from 0; after the last: none
        found = {}
        for lane, seat in enumerate(self._seats):
            if seat is None:
                continue
            own = {name: column[lane] for name, column in trained.items()} | values[lane]
            inside = min(first_bad[lane] + 1, self._steps)
            found[lane] = Measured(own, (seat.epoch - 1) * self._steps + inside)
            seat.pace.observe(own[self._objective.name])
        return found

    def evaluate(self, name: str, split: Split) -> list[dict[str, float]]:
        """Return each lane's loss and metrics over a whole split."""
        assert self._optimizer is not None
        with self._tally.spent("evaluating"):
            values = self._judge.evaluate(name, split, self._optimizer, self._averages)
        columns = {n: value.tolist() for n, value in values.items()}
        found = []
        for lane, seat in enumerate(self._seats):
            own = {n: column[lane] for n, column in columns.items()}
            if seat is None or seat.config.average == "none":
                own = {n: value for n, value in own.items() if not n.endswith("_raw")}
            found.append(own)
        return found

    def _begin_average(self, lane: int, config: Config, total: int, replica: Replica) -> None:
        average = average_of(config)
        if average is not None and self._averages is None:
            flat = self._stack.flat
            totals = torch.ones(len(self._seats), dtype=torch.float64)
            self._averages = LaneAverages([None] * len(self._seats), flat, totals, {})
        if self._averages is None:
            return
        self._averages.reset(lane, average, total, config.average_hypers)
        self._judge.forget(lane)
        if average is not None and replica.average is not None:
            take_average(replica.average, lane, self._stack, self._averages, self._judge)

    def _seeds(self) -> list[int]:
        """Return the seeds of the lanes' present epochs; an idle lane goes with the first one."""
        own = [None if s is None else epoch_seed(s.seed, s.epoch) for s in self._seats]
        first = next(seed for seed in own if seed is not None)
        return [first if seed is None else seed for seed in own]

    def _last_batches(self) -> Iterator[Batch]:
        return side_by_side(self._data.train, self._batch_size, self._seeds())

    def _train(self, seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take the steps of an epoch; losses [S, K] and the metrics' means over the steps, [K].

        They come from the device at once: what is asked for lane by lane waits for it each time.
        """
        losses = []
        sums: dict[str, Tensor] = {}
        for loss, metrics in self._updates(seeds, traced=True):
            losses.append(loss)
            sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
        means = {name: (total / len(losses)).cpu() for name, total in sums.items()}
        return torch.stack(losses).double().cpu(), means

    def steps(self, *, traced: bool) -> Iterator[object]:
        """Take steps to see how long they last; the lanes are of no use afterwards."""
        for seat in self._seats:
            if seat is not None:
                seat.epoch += 1
        return self._updates(self._seeds(), traced=traced)

    def _updates(
        self, seeds: Sequence[int], *, traced: bool
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Take an epoch's steps; each one's losses and metrics, [K]."""
        stack, optimizer = self._stack, self._optimizer
        assert optimizer is not None
        factors, momenta, active = self._tables()
        moved = self._moved(momenta)
        tables = Tables(optimizer, factors, moved) if traced and can_tabulate(optimizer) else None
        steps = self._stepper.epoch(seeds, tables, traced=traced)
        for step, (loss, metrics, grad) in enumerate(steps):
            if grad is not None:
                optimizer.hypers |= {name: column[step] for name, column in moved.items()}
                optimizer.step(grad, factors[step], active=active)
            if self._averages is not None:
                self._averages.update(stack.flat, active)
            yield loss, metrics

    def _tables(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Factor and momentum [S, K], and which lanes are in use, [K]; None: all."""
        device, steps = self._stack.flat.device, self._steps
        tables = [
            None if seat is None else seat.pace.table((seat.epoch - 1) * steps, steps)
            for seat in self._seats
        ]
        factors, momenta = columns(tables, steps)
        busy = [seat is not None for seat in self._seats]
        active = None if all(busy) else torch.tensor(busy, device=device)
        return factors.to(device), momenta.to(device), active

    def _moved(self, momenta: Tensor) -> dict[str, Tensor]:
        """Return the knobs that schedules move, by their names, [S, K]; `momenta` [S, K].

        A schedule moves momentum at every step or at none.
        """
        assert self._optimizer is not None
        moved = momenta[0].isfinite()
        found = {}
        for name in ("beta1", "momentum"):
            lanes = [seat is not None and seat.momentum == name for seat in self._seats]
            here = torch.tensor(lanes, device=moved.device) & moved
            if here.any():
                found[name] = momenta.where(here, self._optimizer.hypers[name])
        return found
