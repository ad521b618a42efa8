"""Schedules made of other schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import NOTHING, Schedule

if TYPE_CHECKING:
    from torch import Tensor

Part = tuple[Schedule, Mapping[str, float]]
"""A schedule and its hyperparameters; those that are left out have their defaults."""


@dataclass(frozen=True, kw_only=True)
class Chained(Schedule):
    """decay = the product of the parts' factors, each over the whole training.

    Only the learning rate is scheduled: a part does not move momentum. Source: torch's
    ChainedScheduler.

    Raises:
        ValueError: no part, a part that needs a metric, or an invalid hyperparameter.
    """

    parts: tuple[Part, ...]
    name: str = "chained"
    paper: str = field(default="PyTorch, torch.optim.lr_scheduler.ChainedScheduler", compare=False)
    hypers: Mapping[str, Hyper] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError(f"parts = () is invalid; {self.name} needs at least one schedule")
        for schedule, values in self.parts:
            if schedule.feedback:
                raise ValueError(
                    f"{schedule.name} is no part of {self.name}: it needs a metric; use it alone"
                )
            schedule.check(values)

    @property
    def foreseeable(self) -> bool:
        return all(schedule.foreseeable for schedule, _ in self.parts)

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del h, state
        product = t.new_ones(t.shape)
        for part in self.parts:
            product = product * part_factor(part, t, total)
        return product


@dataclass(frozen=True, kw_only=True)
class Sequential(Chained):
    """decay = the factor of the part whose turn it is, over its own stretch of the training.

    Part n + 1 takes over at t = round(milestones[n] * total) and counts from 0 there; its total is
    the length of its stretch. Only the learning rate is scheduled. Source: torch's SequentialLR.

    Raises:
        ValueError: as Chained, or milestones that are not rising fractions, one less than parts.
    """

    milestones: tuple[float, ...]
    name: str = "sequential"
    paper: str = field(default="PyTorch, torch.optim.lr_scheduler.SequentialLR", compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = (0.0, *self.milestones, 1.0)
        rising = all(one <= next_one for one, next_one in pairwise(bounds))
        if not rising or len(self.milestones) != len(self.parts) - 1:
            raise ValueError(
                f"milestones = {self.milestones!r} is invalid; it must be {len(self.parts) - 1} "
                "rising fractions in [0, 1], one less than there are parts"
            )

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del h, state
        starts = [(total * share).round() for share in (0.0, *self.milestones)]
        factor = t.new_ones(t.shape)
        for part, start, end in zip(self.parts, starts, [*starts[1:], total], strict=True):
            own = part_factor(part, (t - start).clamp(min=0), (end - start).clamp(min=1))
            factor = own.where(t >= start, factor)
        return factor


def part_factor(part: Part, t: Tensor, total: Tensor) -> Tensor:
    """The factor of a part at `t`."""
    schedule, given = part
    values = {name: hyper.default for name, hyper in schedule.hypers.items()} | {**given}
    hypers = {name: total.new_tensor(value) for name, value in values.items()}
    return schedule.factor(t, total, hypers, NOTHING)
