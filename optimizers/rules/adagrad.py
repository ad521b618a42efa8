"""Adagrad: a step size for each weight, which falls with the sum of its squared gradients."""

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
class AdagradRule(Rule):
    """Gradients divided by the root of the sum of all their squares so far.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - rate * weight_decay)
        rate = lr / (1 + (t - 1) * lr_decay)
        sum = sum + g^2                          (sum starts at initial_accumulator_value)
        p = p - rate * g / (sqrt(sum) + eps)

    lr multiplies a step whose size is 1 at the first update and falls as 1 / sqrt(t) thereafter.

    Source: Duchi et al. 2011, JMLR 12:2121, figure 1 with the diagonal matrix, eps added outside of
    the root as torch does. Equal to torch.optim.Adagrad; the decay "decoupled" is not torch's, and
    lr_decay lowers it along with the step.
    """

    buffers: ClassVar[tuple[str, ...]] = ("sum",)

    def rate(self, h: Mapping[str, Number], t: Number) -> Number:
        """What multiplies the step at update `t`."""
        return h["lr"] / (1 + (t - 1) * h["lr_decay"])

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        rate = self.rate(h, t)
        return {
            "lr": rate,
            "initial": h["initial_accumulator_value"] * (t == 1),
            "eps": h["eps"],
            **self.decay_scalars(h, rate),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total = s["sum"].addcmul(g, g).add_(c["initial"])
        return multiply_add(p, g / total.sqrt().add_(c["eps"]), -c["lr"]), {"sum": total}


# Defaults: torch.optim.Adagrad. lr: the paper leaves it to a search over powers of ten; as the step
# falls by sqrt(t), AdamW's range (1e-4 to 1e-1) is moved up by ten. weight_decay: as Adam's, whose
# L2 penalty too is divided by the root of squares. lr_decay is torch's addition; the schedule does
# its work, and the accumulator's first value stays at the paper's 0.
ADAGRAD = AdagradRule(
    name="adagrad",
    paper="Duchi, Hazan & Singer 2011, Adaptive subgradient methods, JMLR 12:2121-2159",
    hypers={
        "lr": Hyper(1e-2, 1e-3, 1.0, "log"),
        "lr_decay": Hyper(0.0, 1e-6, 1e-2, "log", searched=False),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
        "initial_accumulator_value": Hyper(0.0, 1e-3, 1.0, "log", searched=False),
        "eps": Hyper(1e-10, 1e-12, 1e-3, "log", searched=False),
    },
    class_name="Adagrad",
)
