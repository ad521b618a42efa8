"""What the schedulers here share: a pure schedule's numbers by step, set on an optimizer's groups.

They set `lr = base_lr * factor(t)` in closed form, where torch's set each lr from the one before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from optimizers.schedules import Schedule

_BLOCK = 1024  # steps whose numbers are computed at a time: one call for many steps


def lanes(values: Mapping[str, Sequence[float]]) -> dict[str, Tensor]:
    return {name: torch.tensor(column, dtype=torch.float64) for name, column in values.items()}


def lane(values: Mapping[str, float]) -> dict[str, Tensor]:
    return lanes({name: [value] for name, value in values.items()})


def set_rate(group: dict[str, Any], lr: float | Tensor) -> None:
    """Set the group's lr, in place where it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(lr))
    else:
        group["lr"] = lr


def rates(optimizer: Optimizer) -> list[float | Tensor]:
    """The lr of each group; tensors are copied."""
    found = [group["lr"] for group in optimizer.param_groups]
    return [lr.clone() if isinstance(lr, Tensor) else lr for lr in found]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value` for each group: a list with one for each, or one for all.

    Raises:
        ValueError: a list of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(
            f"{name} = {value!r} is invalid; it must have {groups} values, one a group"
        )
    return list(value)


def whole(name: str, value: float, at_least: int = 1) -> None:
    """Refuse a number of steps that is too small or not whole.

    Raises:
        ValueError: names the argument, its value and the valid range.
    """
    if not value >= at_least or value != int(value):
        raise ValueError(
            f"{name} = {value!r} is invalid; it must lie in [{at_least}, inf), a whole number"
        )


class ByStep(ABC):
    """Numbers that depend on the step only, looked up in a table of a block of steps."""

    schedule: Schedule
    _table: list[tuple[float, ...]]
    _table_start: float

    @abstractmethod
    def horizon(self) -> tuple[float, Mapping[str, float]]:
        """The schedule's `total` and hyperparameters; those left out have their defaults."""

    @abstractmethod
    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The numbers at the steps `t` [T], each [T] or [1]."""

    def row(self, step: float) -> tuple[float, ...]:
        """The numbers at `step`."""
        offset = step - self._table_start
        if not (0 <= offset < len(self._table) and offset == int(offset)):
            self._fill(step)
            offset = 0
        return self._table[int(offset)]

    def forget(self) -> None:
        """Drop what was worked out ahead: what it was worked out from has changed."""
        self._table = []
        self._table_start = 0

    def _fill(self, start: float) -> None:
        total, given = self.horizon()
        values = {name: hyper.default for name, hyper in self.schedule.hypers.items()} | {**given}
        block = _BLOCK if self.schedule.foreseeable else 1
        t = torch.arange(block, dtype=torch.float64) + start
        wide = torch.tensor([total], dtype=torch.float64)
        columns = [column.expand(block).tolist() for column in self.columns(t, wide, lane(values))]
        self._table = list(zip(*columns, strict=True))
        self._table_start = start


class ClosedLR(LRScheduler, ABC):
    """A scheduler that finds the lr of any step without the one before."""

    _derived: tuple[str, ...] = ("optimizer",)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and what can be computed again."""
        return {key: value for key, value in vars(self).items() if key not in self._derived}


class FactorLR(ByStep, ClosedLR):
    """A schedule over an optimizer's groups: lr = base_lr * factor(t); `step` adds 1 to t."""

    _derived: tuple[str, ...] = ("optimizer", "schedule", "_table", "_table_start")

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.forget()
        super().__init__(optimizer, last_epoch)

    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The factor."""
        return [self.schedule.factor(t, total, h)]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        factor = self.row(self.last_epoch)[0]
        return [base * factor for base in self.bases()]

    def bases(self) -> list[float | Tensor]:
        """The base lr of each group; one that was added later begins with its own."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))
        return self.base_lrs

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, of torch's scheduler of the same name too."""
        super().load_state_dict(state_dict)
        self.forget()
