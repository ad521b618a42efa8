"""Any schedule on an optimizer's learning rates, or on its weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from optimizers.lr_scheduler.factor_lr import ByStep, FactorLR, lane, rates, set_rate, whole
from optimizers.lr_scheduler.momentum import check_momentum, has_momentum, set_momentum
from optimizers.names import lookup
from optimizers.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from optimizers.weight_average import WeightAverage


class ScheduleLR(FactorLR):
    """Any schedule over `total_steps` optimizer steps; missing `hypers` are its defaults.

    Call `step` after every optimizer step, and `observe` at every evaluation (only feedback
    schedules heed it); `maximize`: more of the metric is better.

    A schedule that moves momentum (`one_cycle`, `cyclic`) sets `momentum` or `betas[0]` too; on an
    optimizer without them, or with averages of its own, it keeps to the learning rate. For one
    whose momentum is to stay, give
    `dataclasses.replace(SCHEDULES["one_cycle"], cycle_momentum=False)`.

    With an `average` that sets the learning rate (SWA), it does so from its start on: the schedule,
    momentum included, stands still there.

    Raises:
        ValueError: an unknown schedule or hyperparameter, an invalid value, a momentum of 0 that
            the schedule would move, or an average over another number of steps.
    """

    _derived: tuple[str, ...] = (*FactorLR._derived, "average")

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: str | Schedule,
        total_steps: int,
        *,
        maximize: bool = False,
        average: WeightAverage | None = None,
        **hypers: float,
    ) -> None:
        if average is not None and average.total_steps != total_steps:
            raise ValueError(
                f"total_steps = {total_steps!r} is invalid with an average over "
                f"{average.total_steps}; they must be the same"
            )
        self.average = average
        found = _checked(schedule, total_steps, hypers)
        self.schedule = found.maximizing() if maximize else found
        self.total_steps = total_steps
        self.hypers = _complete(found, hypers)
        self.state = dict(self.schedule.initial_state)
        if self._moves_momentum():
            check_momentum(optimizer)
        super().__init__(optimizer)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.total_steps, self.hypers

    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The factor and, where the schedule moves it, momentum."""

        def scheduled(t: Tensor) -> Tensor:
            return self.schedule.factor(t, total, h, lane(self.state))

        if self.average is None:
            factor = scheduled(t)
        else:
            kind, own = self.average.kind, lane(self.average.hypers)
            factor = kind.lr_factor(t, total, own, scheduled)
            t = kind.schedule_step(t, total, own)
        momentum = self.schedule.momentum(t, total, h)
        return [factor] if momentum is None else [factor, momentum]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and what can be computed again; names its schedule."""
        return {**super().state_dict(), "schedule": self.schedule.name}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same schedule; its steps and hyperparameters win.

        Raises:
            ValueError: the state is another schedule's.
        """
        super().load_state_dict(_of_schedule(state_dict, self.schedule))

    def observe(self, metric: float) -> None:
        """Take in an evaluation's metric; the learning rates follow at once."""
        value = torch.tensor([metric], dtype=torch.float64)
        state = self.schedule.observe(lane(self.state), value, lane(self.hypers))
        self.state = {name: float(number) for name, number in state.items()}
        self.forget()
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_rate(group, lr)
        self._last_lr = rates(self.optimizer)

    def go_to(self, step: int, state: Mapping[str, float]) -> None:
        """Be where `step` steps and these evaluations led (`state`), the rates too."""
        self._step_count, self.state = step + 1, dict(state)
        self.forget()
        self._update_lr(step)

    def _moves_momentum(self) -> bool:
        one = torch.ones(1, dtype=torch.float64)
        return self.schedule.momentum(one, one, lane(self.hypers)) is not None

    def _update_lr(self, epoch: int | None = None) -> None:
        super()._update_lr(epoch)
        for momentum in self.row(self.last_epoch)[1:]:
            for group in self.optimizer.param_groups:
                if has_momentum(self.optimizer, group):
                    set_momentum(group, momentum)


class ScheduleWD(ByStep):
    """Any schedule on the groups' weight decay: weight_decay = base_wd * factor(t).

    As fastai's `use_wd_sched`: apart from the learning rate's schedule, which may be any, on the
    same optimizer. Call `step` after every optimizer step. Source: fastai 0.7;
    Loshchilov & Hutter, arXiv:1711.05101, whose eta_t multiplies the decay as well as the step.

    Raises:
        ValueError: an unknown schedule or hyperparameter, an invalid value, a schedule that needs a
            metric, or an optimizer without weight decay.
    """

    def __init__(
        self, optimizer: Optimizer, schedule: str | Schedule, total_steps: int, **hypers: float
    ) -> None:
        self.schedule = _checked(schedule, total_steps, hypers)
        if self.schedule.feedback:
            raise ValueError(
                f"schedule = '{self.schedule.name}' is invalid for weight decay: it needs a metric"
            )
        if not all("weight_decay" in group for group in optimizer.param_groups):
            raise ValueError(f"{type(optimizer).__name__} has no weight_decay to schedule")
        self.optimizer = optimizer
        self.total_steps = total_steps
        self.hypers = _complete(self.schedule, hypers)
        self.base_wds = [group["weight_decay"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self.forget()
        self._set()

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.total_steps, self.hypers

    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The factor."""
        return [self.schedule.factor(t, total, h)]

    def step(self) -> None:
        """Go on by an optimizer step."""
        self.last_epoch += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs."""
        kept = ("total_steps", "hypers", "base_wds", "last_epoch")
        return {**{name: getattr(self, name) for name in kept}, "schedule": self.schedule.name}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same schedule; its steps and hyperparameters win.

        Raises:
            ValueError: the state is another schedule's.
        """
        vars(self).update(_of_schedule(state_dict, self.schedule))
        self.forget()
        self._set()

    def _set(self) -> None:
        factor = self.row(self.last_epoch)[0]
        groups = self.optimizer.param_groups
        self.base_wds += [group["weight_decay"] for group in groups[len(self.base_wds) :]]
        for group, base in zip(groups, self.base_wds, strict=True):
            group["weight_decay"] = base * factor


def build_scheduler(
    name: str,
    optimizer: Optimizer,
    total_steps: int,
    hypers: Mapping[str, float],
    *,
    maximize: bool = False,
    average: WeightAverage | None = None,
) -> ScheduleLR:
    """The schedule `name` over `total_steps` optimizer steps; missing hyperparameters are defaults.

    Raises:
        ValueError: an unknown schedule or hyperparameter, or an invalid value.
    """
    return ScheduleLR(optimizer, name, total_steps, maximize=maximize, average=average, **hypers)


def _checked(schedule: str | Schedule, total_steps: int, hypers: Mapping[str, float]) -> Schedule:
    if isinstance(schedule, str):
        schedule = lookup(SCHEDULES, "schedule", schedule)
    whole("total_steps", total_steps)
    schedule.check(hypers)
    return schedule


def _complete(schedule: Schedule, hypers: Mapping[str, float]) -> dict[str, float]:
    return {name: hypers.get(name, hyper.default) for name, hyper in schedule.hypers.items()}


def _of_schedule(state_dict: Mapping[str, Any], schedule: Schedule) -> dict[str, Any]:
    state = dict(state_dict)
    name = state.pop("schedule")
    if name != schedule.name:
        raise ValueError(f"state of schedule '{name}', this is '{schedule.name}'")
    return state
