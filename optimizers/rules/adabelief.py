"""AdaBelief (`adabelief`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add
from optimizers.rule import Rule, State
from optimizers.rules.adam import BETAS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdaBeliefRule(Rule):
    """Adam, its second moment taken of how far the gradient is from its own average.

        p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g - m)^2 + eps
        p = p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    The same eps stands in both places, and in v it adds up over the updates. Decoupled decay and
    eps = 1e-16 are those of the authors' code; its rectification, which the paper has not, is left
    out.

    With beta1 = 0 there is no surprise to divide by (g - m is 0), and the steps grow without bound.

    Source: Zhuang et al., arXiv:2010.07468, algorithm 2; equals pytorch_optimizer's AdaBelief.
    """

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_var")

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        root = (1 - h["beta2"] ** t) ** 0.5
        return {
            "lr": h["lr"] * root / (1 - h["beta1"] ** t),
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "eps": h["eps"],
            "eps_outside": h["eps"] * root,
            **self.decay_scalars(h),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        m = s["exp_avg"].lerp(g, c["fresh1"])
        surprise = (g - m).square_()
        v = s["exp_avg_var"].lerp(surprise, c["fresh2"]).add_(c["eps"])
        step = m / v.sqrt().add_(c["eps_outside"])
        return multiply_add(p, step, -c["lr"]), {"exp_avg": m, "exp_avg_var": v}


# Defaults: the authors' code, version 0.2 (juntang-zhuang/Adabelief-Optimizer). Ranges: AdamW's,
# with which the authors tune it alike; eps about the 1e-16 to 1e-8 of their table of settings.
_HYPERS = {
    "lr": Hyper(1e-3, 1e-4, 1e-1, "log"),
    **BETAS,
    "eps": Hyper(1e-16, 1e-16, 1e-8, "log", searched=False),
    "weight_decay": Hyper(0.0, 5e-3, 1.0, "log"),
}

ADABELIEF = AdaBeliefRule(
    name="adabelief",
    paper="Zhuang et al. 2020, AdaBelief optimizer: adapting stepsizes by the belief in observed "
    "gradients, arXiv:2010.07468",
    hypers=_HYPERS,
    class_name="AdaBelief",
    decay="decoupled",
)
