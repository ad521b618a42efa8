"""Lion (`lion`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, sign
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LionRule(Rule):
    """The sign of a momentum in which the newest gradient counts more than in the one it keeps.

        p = p * (1 - lr * weight_decay)
        p = p - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g

    Every weight moves by lr at each update (not at all where the sign is of 0). Where a gradient
    is not finite the weight becomes NaN; the reference leaves it still for good.

    Source: Chen et al., arXiv:2302.06675, algorithm 2; equals pytorch_optimizer's Lion.
    """

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg",)

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "lr": h["lr"],
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            **self.decay_scalars(h),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        m = s["exp_avg"]
        direction = sign(m.lerp(g, c["fresh1"]))
        return multiply_add(p, direction, -c["lr"]), {"exp_avg": m.lerp(g, c["fresh2"])}


# Defaults: the authors' (google/automl, lion). Ranges: the paper's section 5 sets lr 3 to 10 times
# smaller and weight_decay as many times larger than AdamW's; here AdamW's ranges moved by sqrt(10)
# (lr) and 10 (decay, its upper end by 2.5). Its betas are (0.9, 0.99), or (0.95, 0.98) where
# training is unstable.
_HYPERS = {
    "lr": Hyper(1e-4, 3e-5, 3e-2, "log"),
    "beta1": Hyper(0.9, 0.5, 0.98, "one_minus_log", below=1.0),
    "beta2": Hyper(0.99, 0.9, 0.999, "one_minus_log", below=1.0),
    "weight_decay": Hyper(0.0, 5e-2, 2.5, "log"),
}

LION = LionRule(
    name="lion",
    paper="Chen et al. 2023, Symbolic discovery of optimization algorithms, arXiv:2302.06675",
    hypers=_HYPERS,
    class_name="Lion",
    decay="decoupled",
)
