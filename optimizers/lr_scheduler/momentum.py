"""Momentum in an optimizer's groups: beta1 where there are `betas`, else `momentum`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim.optimizer import Optimizer

from optimizers.drop_in import RuleOptimizer


def has_momentum(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Has the group a momentum that may be moved? Not that of an average (Schedule-Free's)."""
    mixes = isinstance(optimizer, RuleOptimizer) and optimizer.rule.averages
    return not mixes and ("betas" in group or "momentum" in group)


def momentum_of(group: dict[str, Any]) -> float:
    return float(group["betas"][0] if "betas" in group else group["momentum"])


def set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def check_momentum(optimizer: Optimizer) -> None:
    """Refuse an optimizer that has momentum and does not use it.

    Raises:
        ValueError: names the group and what to do.
    """
    for index, group in enumerate(optimizer.param_groups):
        if has_momentum(optimizer, group) and momentum_of(group) == 0:
            name = "betas[0]" if "betas" in group else "momentum"
            raise ValueError(
                f"{name} = 0 in param group {index} of {type(optimizer).__name__} is invalid where "
                "momentum is cycled, which would turn it on; it must lie in (0, 1). Give the "
                "optimizer a momentum, or the schedule cycle_momentum=False"
            )


def begin_cycle(optimizer: Optimizer, base: Sequence[float], top: Sequence[float]) -> None:
    """Put momentum at its upper bound, and the bounds into the groups, as torch's schedulers do.

    Raises:
        ValueError: a group without momentum, or with one of 0.
    """
    if not all(has_momentum(optimizer, group) for group in optimizer.param_groups):
        raise ValueError(
            f"cycle_momentum = True is invalid with {type(optimizer).__name__}, which has no "
            "momentum or betas to be moved; pass cycle_momentum=False"
        )
    check_momentum(optimizer)
    for group, low, high in zip(optimizer.param_groups, base, top, strict=True):
        set_momentum(group, high)
        group["max_momentum"] = high
        group["base_momentum"] = low


def move_momentum(optimizer: Optimizer, height: float) -> None:
    """Set momentum between its bounds: the upper one at height 0, the lower one at height 1."""
    for group in optimizer.param_groups:
        high = group["max_momentum"]
        set_momentum(group, high - (high - group["base_momentum"]) * height)
