"""Rprop: a step size for each weight, grown and shrunk by the gradient's sign alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, sign
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RpropRule(Rule):
    """Steps grow while the gradient keeps its sign, and shrink where it has turned.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        size = size * (eta_plus where g * prev > 0, eta_minus where g * prev < 0, 1 elsewhere)
        size = min(max(size, step_size_min), step_size_max)             (size starts at lr)
        g = 0 where g * prev < 0
        p = p - size * sign(g);  prev = g

    lr is the first step's size and nothing else: a schedule changes only the decay after that. It
    is made for full-batch gradients, since noise turns signs.

    Source: Riedmiller & Braun 1993, section 3, without the weight's backtracking (the form known as
    iRprop-: Igel & Huesken 2000). Equal to torch.optim.Rprop, but where a gradient is not
    finite: there the weight goes on or stays, here it becomes NaN, so that a trial that has failed
    shows it. Weight decay is not torch's.
    """

    buffers: ClassVar[tuple[str, ...]] = ("prev", "step_size")
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "etas": ("eta_minus", "eta_plus"),
        "step_sizes": ("step_size_min", "step_size_max"),
    }

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "start": h["lr"] * (t == 1),
            "eta_minus": h["eta_minus"],
            "eta_plus": h["eta_plus"],
            "step_size_min": h["step_size_min"],
            "step_size_max": h["step_size_max"],
            **self.decay_scalars(h),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        size = s["step_size"] + c["start"]
        agreement = g * s["prev"]
        turned = agreement < 0
        size = (size * c["eta_minus"]).where(turned, size)
        size = (size * c["eta_plus"]).where(agreement > 0, size)
        size = size.clamp(c["step_size_min"], c["step_size_max"])
        g = g.masked_fill(turned, 0.0)
        return p.addcmul(sign(g), size, value=-1), {"prev": g, "step_size": size}


# Defaults: torch.optim.Rprop, which are the paper's (section 4) but for lr, there 0.1. The paper
# finds that neither the etas nor the bounds need tuning, and that the first step's size hardly
# does: lr is searched from far below torch's default to the paper's. weight_decay: as Adam's.
RPROP = RpropRule(
    name="rprop",
    paper="Riedmiller & Braun 1993, A direct adaptive method for faster backpropagation learning",
    hypers={
        "lr": Hyper(1e-2, 1e-4, 1e-1, "log"),
        "eta_minus": Hyper(0.5, 0.3, 0.7, searched=False, below=1.0),
        "eta_plus": Hyper(1.2, 1.05, 1.5, searched=False, at_least=1.0),
        "step_size_min": Hyper(1e-6, 1e-9, 1e-4, "log", searched=False),
        "step_size_max": Hyper(50.0, 1e-2, 50.0, "log", searched=False),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
    },
    class_name="Rprop",
)
