"""Adadelta: steps in the units of the weights, from the sizes of the steps so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdadeltaRule(Rule):
    """The root mean square of past steps over that of past gradients takes the place of lr.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        v = rho * v + (1 - rho) * g^2
        step = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * step^2
        p = p - lr * step

    lr multiplies a step that needs none: the paper's lr is 1. eps sets the size of the first steps.

    Source: Zeiler, arXiv:1212.5701, algorithm 1. Equal to torch.optim.Adadelta.
    """

    buffers: ClassVar[tuple[str, ...]] = ("square_avg", "acc_delta")

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "lr": h["lr"],
            "fresh": 1 - h["rho"],
            "eps": h["eps"],
            **self.decay_scalars(h),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        v = s["square_avg"].lerp(g * g, c["fresh"])
        step = (s["acc_delta"] + c["eps"]).div_(v + c["eps"]).sqrt_().mul_(g)
        u = s["acc_delta"].lerp(step * step, c["fresh"])
        return multiply_add(p, step, -c["lr"]), {"square_avg": v, "acc_delta": u}


# Defaults: torch.optim.Adadelta. rho and eps: the grid of the paper's table 2 (rho 0.9, 0.95 and
# 0.99, eps 1e-2 to 1e-8). lr: ten times less and more than the paper's 1. weight_decay: as Adam's,
# since here too the penalty is divided by the root mean square of the gradient.
ADADELTA = AdadeltaRule(
    name="adadelta",
    paper="Zeiler 2012, ADADELTA: an adaptive learning rate method, arXiv:1212.5701",
    hypers={
        "lr": Hyper(1.0, 0.1, 10.0, "log"),
        "rho": Hyper(0.9, 0.9, 0.99, "one_minus_log", below=1.0),
        "eps": Hyper(1e-6, 1e-8, 1e-2, "log"),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
    },
    class_name="Adadelta",
)
