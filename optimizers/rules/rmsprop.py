"""RMSProp, with its centered form and with momentum."""

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
class RmspropRule(Rule):
    """Gradients divided by the root of their mean square, then heavy-ball momentum.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        v = alpha * v + (1 - alpha) * g^2
        centered:  m = alpha * m + (1 - alpha) * g, and v - m^2 in place of v in the next line
        z = momentum * z + g / (sqrt(v) + eps)
        p = p - lr * z

    lr multiplies a step of about 1 / (1 - momentum). There is no bias correction: the first steps
    are larger, by 1 / sqrt(1 - alpha).

    Source: Tieleman & Hinton 2012, lecture 6.5; centered: Graves, arXiv:1308.0850, eqs. 38-41, eps
    outside of the root as torch does. Equal to torch.optim.RMSprop, but for a variance v - m^2 that
    rounding makes negative: it is 0 here and NaN after the root there.
    """

    centered: bool = False

    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {"centered": (False, True)}

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("square_avg", "momentum_buffer", *(["grad_avg"] if self.centered else []))

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "lr": h["lr"],
            "fresh": 1 - h["alpha"],
            "eps": h["eps"],
            "momentum": h["momentum"],
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
        new = {"square_avg": v}
        if self.centered:
            m = new["grad_avg"] = s["grad_avg"].lerp(g, c["fresh"])
            v = v.addcmul(m, m, value=-1).clamp_(min=0)
        z = (s["momentum_buffer"] * c["momentum"]).addcdiv_(g, v.sqrt().add_(c["eps"]))
        new["momentum_buffer"] = z
        return multiply_add(p, z, -c["lr"]), new


# Defaults: torch.optim.RMSprop. lr and momentum: the ranges of AdamW's lr and beta1, the step being
# of the same size but for 1 / (1 - momentum), which lr's lower end leaves room for. alpha: from the
# lecture's 0.9 to Adam's 0.999. weight_decay: as Adam's.
RMSPROP = RmspropRule(
    name="rmsprop",
    paper="Tieleman & Hinton 2012, Lecture 6.5 of Neural networks for machine learning, Coursera",
    hypers={
        "lr": Hyper(1e-2, 1e-4, 1e-1, "log"),
        "alpha": Hyper(0.99, 0.9, 0.999, "one_minus_log", below=1.0),
        "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
        "momentum": Hyper(0.0, 0.5, 0.98, "one_minus_log"),
    },
    class_name="RMSprop",
)
