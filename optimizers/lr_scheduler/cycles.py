"""The schedulers that move momentum (or beta1) against the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor
from torch.optim.optimizer import Optimizer

from optimizers.lr_scheduler.factor_lr import FactorLR, per_group, set_rate, whole
from optimizers.lr_scheduler.functions import function_state
from optimizers.lr_scheduler.momentum import begin_cycle, move_momentum
from optimizers.schedules.cyclic import CYCLIC, Cyclic
from optimizers.schedules.one_cycle import ONE_CYCLE, OneCycle


class OneCycleLR(FactorLR):
    """From max_lr / div_factor up to max_lr and down to that / final_div_factor. torch's arguments.

        lr = start * initial_lr + height * max_lr + end * min_lr          (`OneCycle.parts`)
        momentum = max_momentum - (max_momentum - base_momentum) * height

    As with torch's, the groups keep initial_lr, max_lr, min_lr and the bounds of momentum. Momentum
    is betas[0] where there are betas.

    Raises:
        ValueError: an invalid argument, or momentum that is to be cycled and is 0 or not there
            (torch's turns a momentum of 0 on).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        factors = {"div_factor": div_factor, "final_div_factor": final_div_factor}
        ONE_CYCLE.check({"pct_start": pct_start, **factors})
        one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.three_phase = three_phase
        self.cycle_momentum = cycle_momentum
        if last_epoch == -1:
            if cycle_momentum:
                base = per_group("base_momentum", optimizer, base_momentum)
                begin_cycle(optimizer, base, per_group("max_momentum", optimizer, max_momentum))
            peaks = per_group("max_lr", optimizer, max_lr)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["initial_lr"] = peak / div_factor
                group["max_lr"] = peak
                group["min_lr"] = peak / div_factor / final_div_factor
        super().__init__(optimizer, last_epoch)

    @property
    def schedule(self) -> OneCycle:  # type: ignore[override]
        """The schedule with this one's switches."""
        strategy, phases = self.anneal_strategy, self.three_phase
        return replace(ONE_CYCLE, anneal_strategy=strategy, three_phase=phases)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.total_steps, {"pct_start": self.pct_start}

    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """How much of the start, the peak and the end is in the learning rate."""
        return self.schedule.parts(t, total, h)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step.

        Raises:
            ValueError: the cycle is over.
        """
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"step {self.last_epoch} is past the end; total_steps = {self.total_steps}"
            )
        start, height, end = self.row(self.last_epoch)
        return [
            start * group["initial_lr"] + height * group["max_lr"] + end * group["min_lr"]
            for group in self.optimizer.param_groups
        ]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, of torch's scheduler too; its lrs are in the groups."""
        state = dict(state_dict)
        if phases := state.pop("_schedule_phases", None):
            state["pct_start"] = (phases[0]["end_step"] + 1) / state["total_steps"]
            state["three_phase"] = len(phases) == 3
            state["anneal_strategy"] = state.pop("_anneal_func_type")
        super().load_state_dict(state)

    def _update_lr(self, epoch: int | None = None) -> None:
        super()._update_lr(epoch)
        if self.cycle_momentum:
            move_momentum(self.optimizer, self.row(self.last_epoch)[1])


class CyclicLR(FactorLR):
    """lr = base_lr + (max_lr - base_lr) * height, in triangles. torch's arguments.

        momentum = max_momentum - (max_momentum - base_momentum) * height

    The height is `Cyclic.height`, or the triangle times `scale_fn` of the cycle's number (from 1)
    or, with scale_mode "iterations", of t.

    Raises:
        ValueError: as OneCycleLR.
    """

    _derived = (*FactorLR._derived, "_scale_fn_custom")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: float = 2000,
        step_size_down: float | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        up, down = _sizes(step_size_up, step_size_down)
        if scale_fn is None:
            one_of("mode", mode, ("triangular", "triangular2", "exp_range"))
        else:
            one_of("scale_mode", scale_mode, ("cycle", "iterations"))
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        self.cycle_momentum = cycle_momentum
        lows = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            if cycle_momentum:
                base = per_group("base_momentum", optimizer, base_momentum)
                begin_cycle(optimizer, base, per_group("max_momentum", optimizer, max_momentum))
            for group, low, high in zip(optimizer.param_groups, lows, self.max_lrs, strict=True):
                set_rate(group, low)
                group["initial_lr"], group["max_lr"] = low, high
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    @property
    def schedule(self) -> Cyclic:  # type: ignore[override]
        """The schedule in this one's mode; a triangle where the user's function scales it."""
        return replace(CYCLIC, mode="triangular" if self._scale_fn_custom else self.mode)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        up = self.total_size * self.step_ratio
        ratio = (1 - self.step_ratio) / self.step_ratio
        return 1, {"step_fraction": up, "down_ratio": ratio, "gamma": self.gamma}

    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The height."""
        return [self.schedule.height(t, total, h)]

    def height(self) -> float:
        """How near the upper bounds the present step is."""
        triangle = self.row(self.last_epoch)[0]
        if self._scale_fn_custom is None:
            return triangle
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = cycle if self.scale_mode == "cycle" else self.last_epoch
        return triangle * self._scale_fn_custom(x)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        height = self.height()
        bounds = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * height for low, high in bounds]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and, unless it is a callable object, the user's function."""
        function = self._scale_fn_custom
        kept = None if function is None else function_state(function)
        return {**super().state_dict(), "_scale_fn_custom": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, of torch's scheduler too."""
        state = dict(state_dict)
        if kept := state.pop("_scale_fn_custom"):
            vars(self._scale_fn_custom).update(kept)
        super().load_state_dict(state)

    def _update_lr(self, epoch: int | None = None) -> None:
        super()._update_lr(epoch)
        if self.cycle_momentum:
            move_momentum(self.optimizer, self.height())


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse what is none of `allowed`.

    Raises:
        ValueError: names the argument, its value and what is allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} = {value!r} is invalid; it must be one of {', '.join(allowed)}")


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        whole("total_steps", total_steps)
        return total_steps
    if epochs is None or steps_per_epoch is None:
        raise ValueError(
            "total_steps = None is invalid; give it, or both epochs and steps_per_epoch"
        )
    whole("epochs", epochs)
    whole("steps_per_epoch", steps_per_epoch)
    return epochs * steps_per_epoch


def _sizes(up: float, down: float | None) -> tuple[float, float]:
    down = up if down is None else down
    for name, size in (("step_size_up", up), ("step_size_down", down)):
        if not size > 0:
            raise ValueError(f"{name} = {size!r} is invalid; it must lie in (0, inf)")
    return float(up), float(down)
