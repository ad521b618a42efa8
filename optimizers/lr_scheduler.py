"""The schedules as torch `LRScheduler`s: torch's own names and arguments, and `ScheduleLR`.

All are driven by the pure factors of `optimizers.schedules`. They set `lr = base_lr * factor(t)` in
closed form (torch's set each lr from the one before), so two of them do not multiply.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, SupportsFloat

import torch
from torch import Tensor
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from optimizers.names import lookup
from optimizers.schedules import SCHEDULES
from optimizers.schedules.plateau import PLATEAU
from optimizers.schedules.schedule import Schedule

_BLOCK = 1024  # steps whose factors are computed at a time: one call for many steps


def _lanes(values: Mapping[str, Sequence[float]]) -> dict[str, Tensor]:
    return {name: torch.tensor(column, dtype=torch.float64) for name, column in values.items()}


def _lane(values: Mapping[str, float]) -> dict[str, Tensor]:
    return _lanes({name: [value] for name, value in values.items()})


def _set_lr(group: dict[str, Any], lr: float | Tensor) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def _rates(optimizer: Optimizer) -> list[float | Tensor]:
    rates = [group["lr"] for group in optimizer.param_groups]
    return [lr.clone() if isinstance(lr, Tensor) else lr for lr in rates]


class FactorLR(LRScheduler, ABC):
    """A schedule over an optimizer's groups: lr = base_lr * factor(t); `step` adds 1 to t."""

    schedule: Schedule
    _table: list[float]
    _table_start: int
    state: Mapping[str, float] = {}
    _derived = ("optimizer", "schedule", "_table", "_table_start")

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._forget_table()
        super().__init__(optimizer, last_epoch)

    @abstractmethod
    def horizon(self) -> tuple[float, Mapping[str, float]]:
        """The schedule's `total` and hyperparameters, as this scheduler's arguments have them."""

    def factor(self) -> float:
        """The factor at the present step."""
        offset = self.last_epoch - self._table_start
        if not 0 <= offset < len(self._table):
            self._table_start, offset = self.last_epoch, 0
            self._table = self._factors(self.last_epoch)
        return self._table[offset]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        factor = self.factor()
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and what can be computed again."""
        return {key: value for key, value in vars(self).items() if key not in self._derived}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, of torch's scheduler of the same name too."""
        super().load_state_dict(state_dict)
        self._forget_table()

    def _forget_table(self) -> None:
        self._table = []
        self._table_start = 0

    def _factors(self, start: int) -> list[float]:
        total, hypers = self.horizon()
        t = torch.arange(start, start + _BLOCK, dtype=torch.float64)
        wide = torch.tensor([total], dtype=torch.float64)
        values = {name: hyper.default for name, hyper in self.schedule.hypers.items()} | {**hypers}
        factors = self.schedule.factor(t, wide, _lane(values), _lane(self.state))
        return [float(value) for value in factors.tolist()]


class ScheduleLR(FactorLR):
    """Any schedule over `total_steps` optimizer steps; missing `hypers` are its defaults.

    Call `step` after every optimizer step, and `observe` at every evaluation (only feedback
    schedules heed it); `maximize`: more of the metric is better.

    Raises:
        ValueError: an unknown schedule or hyperparameter, or an invalid value.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: str | Schedule,
        total_steps: int,
        *,
        maximize: bool = False,
        **hypers: float,
    ) -> None:
        if isinstance(schedule, str):
            schedule = lookup(SCHEDULES, "schedule", schedule)
        if total_steps < 1:
            raise ValueError(f"total_steps = {total_steps} is invalid; it must lie in [1, inf)")
        schedule.check(hypers)
        self.schedule = schedule = schedule.maximizing() if maximize else schedule
        self.total_steps = total_steps
        self.hypers = {n: hypers.get(n, h.default) for n, h in schedule.hypers.items()}
        self.state = dict(schedule.initial_state)
        super().__init__(optimizer)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.total_steps, self.hypers

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and what can be computed again; names its schedule."""
        return {**super().state_dict(), "schedule": self.schedule.name}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same schedule; its steps and hyperparameters win.

        Raises:
            ValueError: the state is another schedule's.
        """
        state = dict(state_dict)
        name = state.pop("schedule")
        if name != self.schedule.name:
            raise ValueError(f"state of schedule '{name}', this is '{self.schedule.name}'")
        super().load_state_dict(state)

    def observe(self, metric: float) -> None:
        """Take in an evaluation's metric; the learning rates follow at once."""
        value = torch.tensor([metric], dtype=torch.float64)
        state = self.schedule.observe(_lane(self.state), value, _lane(self.hypers))
        self.state = {name: float(number) for name, number in state.items()}
        self._forget_table()
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            _set_lr(group, lr)
        self._last_lr = _rates(self.optimizer)


class StepLR(FactorLR):
    """lr = base_lr * gamma ^ floor(t / step_size). torch's arguments."""

    schedule = SCHEDULES["step"]

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ValueError(f"step_size = {step_size} is invalid; it must lie in [1, inf)")
        self.schedule.check({"gamma": gamma})
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.step_size, {"step_fraction": 1.0, "gamma": self.gamma}


class ExponentialLR(FactorLR):
    """lr = base_lr * gamma ^ t. torch's arguments."""

    schedule = SCHEDULES["exponential"]

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        if not gamma >= 0:
            raise ValueError(f"gamma = {gamma} is invalid; it must lie in [0, inf)")
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return 1, {"final_factor": self.gamma}


class CosineAnnealingLR(FactorLR):
    """lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2. torch's arguments."""

    schedule = SCHEDULES["cosine"]

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803  (torch's name)
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_max < 1:
            raise ValueError(f"T_max = {T_max} is invalid; it must lie in [1, inf)")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.T_max, {}

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        factor = self.factor()
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]


class ReduceLROnPlateau(torch_schedulers.ReduceLROnPlateau):
    """Cuts the present lr when `step(metric)` stops improving: torch's class, driven by `Plateau`.

    torch's arguments and attributes. It is a subclass of torch's, by which training frameworks know
    that `step` wants a metric.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        PLATEAU.check({"factor": factor, "patience": patience, "cooldown": cooldown})
        super().__init__(
            optimizer, mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps
        )

    def step(  # type: ignore[override]  # as in torch, which asks for a metric here only
        self, metrics: SupportsFloat, epoch: int | None = None
    ) -> None:
        """Take in a metric, and cut the learning rates if it is time; each group is a lane."""
        groups = self.optimizer.param_groups
        rates = [float(group["lr"]) for group in groups]
        state: dict[str, Sequence[float]] = {
            "best": [self.best],
            "bad": [self.num_bad_epochs],
            "cooldown": [self.cooldown_counter],
            "reduction": rates,
        }
        after = replace(PLATEAU, mode=self.mode, threshold_mode=self.threshold_mode).observe(
            _lanes(state), _lanes({"metric": [float(metrics)]})["metric"], _lanes(self._hypers())
        )
        self.best = float(after["best"][0])
        self.num_bad_epochs = int(after["bad"][0])
        self.cooldown_counter = int(after["cooldown"][0])
        for group, old, new in zip(groups, rates, after["reduction"].tolist(), strict=True):
            if new != old:
                _set_lr(group, new)
        self._last_lr = _rates(self.optimizer)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch

    def _hypers(self) -> dict[str, Sequence[float]]:
        """Plateau's hyperparameters in units of lr, as what is cut is the present lr."""
        floors = self.min_lrs
        if len(floors) != len(self.optimizer.param_groups):
            if self.default_min_lr is None:
                raise ValueError(f"min_lr = {floors!r} is invalid; it must have a number a group")
            floors = [self.default_min_lr]
        return {
            "factor": [self.factor],
            "patience": [self.patience],
            "threshold": [self.threshold],
            "cooldown": [self.cooldown],
            "min_factor": floors,
            "eps": [self.eps],
        }


def build_scheduler(
    name: str,
    optimizer: Optimizer,
    total_steps: int,
    hypers: Mapping[str, float],
    *,
    maximize: bool = False,
) -> ScheduleLR:
    """The schedule `name` over `total_steps` optimizer steps; missing hyperparameters are defaults.

    Raises:
        ValueError: an unknown schedule or hyperparameter, or an invalid value.
    """
    return ScheduleLR(optimizer, name, total_steps, maximize=maximize, **hypers)
