"""Evaluating all lanes of a stack, each by the weights that its trial is judged by.

As in `sweeps.engines.evaluation`, lane by lane: an optimizer with averages of its own
(Schedule-Free) is judged by these, a trial with an `average` by it, BatchNorm's statistics being
those of the epoch's training batches under these weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from optimizers import LaneOptimizer
from optimizers.weight_average import LaneAverages
from sweeps.engines.lanes.stack import Function, Stack
from sweeps.tasks.data import Batch, Split

Values = dict[str, Tensor]  # name -> [K], float64


class Judge:
    """Measures the lanes of `stack`; `batches` gives each lane's batches of its last epoch."""

    def __init__(
        self,
        stack: Stack,
        functions: Mapping[str, Function],
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        self._stack, self._functions, self._batches = stack, functions, batches
        self._statistics: dict[str, Tensor] = {}
        self._calibrated = torch.zeros(stack.lanes, dtype=torch.float64)

    def evaluate(
        self, name: str, split: Split, optimizer: LaneOptimizer, averages: LaneAverages | None
    ) -> Values:
        """Return loss and metrics over a whole split; `*_raw` where a lane has an average."""
        weights = optimizer.averaged()
        mixing = torch.tensor([rule.averages for rule in optimizer.rules], device=weights.device)
        with self._calibration(weights, mixing):
            raw = self._measured(name, split, weights)
        if averages is None or not any(averages.kinds):
            return raw
        own = torch.tensor([kind is not None for kind in averages.kinds], device=weights.device)
        started = averages.averaged > 0
        judged = raw
        if started.any():
            weights = averages.weights(weights)
            with self._statistics_of(averages, weights, started):
                found = self._measured(name, split, weights)
            judged = {n: found[n].where(started, value) for n, value in raw.items()}
        nan = torch.full_like(averages.averaged, torch.nan)
        return judged | {f"{n}_raw": value.where(own, nan) for n, value in raw.items()}

    def forget(self, lane: int) -> None:
        """Another model has the lane now."""
        self._calibrated[lane] = 0

    def keep(self) -> Callable[[], None]:
        """Return a function that brings the statistics back to what they are now."""
        before = (dict(self._statistics), self._calibrated.clone())

        def restore() -> None:
            self._statistics, self._calibrated = before

        return restore

    def calibrated(self, lane: int) -> int:
        """Of how many averaged weights a lane's BatchNorm statistics are."""
        return int(self._calibrated[lane])

    def statistics(self, lane: int) -> dict[str, Tensor]:
        """Return a lane's BatchNorm statistics under its average, by their names."""
        if not self._calibrated[lane]:
            return {}
        return {name: self._statistics[name][lane].clone() for name in self._stack.batch_norms}

    def remember(self, lane: int, statistics: Mapping[str, Tensor], calibrated: int) -> None:
        """Take up a model with these statistics."""
        if not self._statistics:
            self._statistics = {name: x.clone() for name, x in self._stack.held.items()}
        for name, value in statistics.items():
            self._statistics[name] = self._statistics[name].clone()
            self._statistics[name][lane] = value
        self._calibrated[lane] = calibrated

    @contextmanager
    def _calibration(self, weights: Tensor, lanes: Tensor) -> Iterator[None]:
        """Within: the statistics of these lanes are those under `weights`."""
        if not (self._stack.batch_norms and lanes.any()):
            yield
            return
        with self._swapped(self._calibrate(weights), lanes):
            yield

    @contextmanager
    def _statistics_of(
        self, averages: LaneAverages, weights: Tensor, started: Tensor
    ) -> Iterator[None]:
        """Within: the statistics under averages, worked out once an average."""
        if not self._stack.batch_norms:
            yield
            return
        stale = started & (averages.averaged != self._calibrated.to(started.device))
        if stale.any():
            found = self._calibrate(weights)
            old = self._statistics or found
            self._statistics = {n: _chosen(stale, x, old[n]) for n, x in found.items()}
            self._calibrated = averages.averaged.clone()
        with self._swapped(self._statistics, started):
            yield

    def _calibrate(self, weights: Tensor) -> dict[str, Tensor]:
        kept = {name: x.clone() for name, x in self._stack.held.items()}
        try:
            self._stack.calibrate(weights, self._batches())
            return self._stack.held
        finally:
            self._stack.held = kept

    @contextmanager
    def _swapped(self, statistics: Mapping[str, Tensor], lanes: Tensor) -> Iterator[None]:
        kept = self._stack.held
        self._stack.held = {n: _chosen(lanes, statistics[n], x) for n, x in kept.items()}
        try:
            yield
        finally:
            self._stack.held = kept

    def _measured(self, name: str, split: Split, weights: Tensor) -> Values:
        count, totals = 0, dict.fromkeys(self._functions, torch.zeros(()))
        for inputs, target in split.ordered():
            found = self._stack.measure(weights, inputs, target, self._functions)
            totals = {n: totals[n] + value * len(target) for n, value in found.items()}
            count += len(target)
        return {f"{name}/{n}": total / count for n, total in totals.items()}


def _chosen(lanes: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return new.where(lanes.reshape(-1, *[1] * (new.dim() - 1)), old)
