"""The learning rate as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """decay = 1."""

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del total, h, state
        return t.new_ones(t.shape)


CONSTANT = Constant(
    name="constant",
    paper="Robbins & Monro 1951, A stochastic approximation method (with a fixed step)",
    hypers={"warmup_fraction": WARMUP},
)


@dataclass(frozen=True, kw_only=True)
class Held(Schedule):
    """decay = factor while t < round(held_fraction * total), then 1. Source: torch's ConstantLR.

    Not in the registry: a warmup does the same better, and this is here for torch's class.
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        held = t < (h["held_fraction"] * total).round()
        return h["factor"].where(held, t.new_ones(t.shape))


HELD = Held(
    name="held",
    paper="PyTorch, torch.optim.lr_scheduler.ConstantLR",
    hypers={"factor": Hyper(1 / 3, 0.1, 1.0), "held_fraction": Hyper(0.05, 0.0, 0.1)},
)
