"""ADOPT (`adopt`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, where
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdoptRule(Rule):
    """Adam with the gradient divided by the second moment before it, and only then averaged.

        t = 1:  v = g^2, and nothing else: the weights stay
        t > 1:  n = g / max(sqrt(v), eps), each number bounded by -(t - 1)^0.25 and (t - 1)^0.25
                m = beta1 * m + (1 - beta1) * n
                p = p - lr * m
                v = beta2 * v + (1 - beta2) * g^2

    The clipped algorithm of the paper's third version and of the authors' code since 22 November
    2024 (iShohei220/adopt, L2 decay unless asked otherwise); decoupled decay waits for t = 2 too,
    as there. pytorch_optimizer's ADOPT bounds by t^0.25, and decays at t = 1.

    Source: Taniguchi et al., arXiv:2411.02853v3, algorithm 2, with c_t = t^0.25 where t counts the
    updates of the weights.
    """

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        first = t == 1
        decay = self.decay_scalars(h)
        if "keep" in decay:
            decay["keep"] = where(first, 1 + 0 * t, decay["keep"])
        return {
            "lr": h["lr"],
            "fresh1": 1 - h["beta1"],
            "fresh2": where(first, 1 + 0 * t, 1 - h["beta2"]),
            "eps": h["eps"],
            "bound": (t - 1) ** 0.25,
            **decay,
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # At the first update the bound is 0, and so are n and m.
        v = s["exp_avg_sq"]
        n = (g / v.sqrt().clamp_(min=c["eps"])).clamp_(-c["bound"], c["bound"])
        m = s["exp_avg"].lerp(n, c["fresh1"])
        new = {"exp_avg": m, "exp_avg_sq": v.lerp(g * g, c["fresh2"])}
        return multiply_add(p, m, -c["lr"]), new


# Defaults: the authors' code. Ranges: AdamW's lr, beta1 and eps (the paper tunes ADOPT on Adam's
# grids); any beta2 converges, which is the paper's point, so from 0.9 to past the default.
_HYPERS = {
    "lr": Hyper(1e-3, 1e-4, 1e-1, "log"),
    "beta1": Hyper(0.9, 0.5, 0.98, "one_minus_log", below=1.0),
    "beta2": Hyper(0.9999, 0.9, 0.99999, "one_minus_log", below=1.0),
    "eps": Hyper(1e-6, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
}

ADOPT = AdoptRule(
    name="adopt",
    paper="Taniguchi et al. 2024, ADOPT: modified Adam can converge with any beta2 with the "
    "optimal rate, arXiv:2411.02853v3",
    hypers=_HYPERS,
    class_name="ADOPT",
)
