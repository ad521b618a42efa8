"""Adam (`adam`: L2, `adamw`: decoupled weight decay)."""

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
class AdamRule(Rule):
    """Bias-corrected first and second moments.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
        amsgrad:   the largest v so far in place of v in the last line

    The bias corrections are folded into the step size and eps, so that the body over the weights
    has no division but one: lr * sqrt(b2) / b1 * m / (sqrt(v) + eps * sqrt(b2)).

    Source: Kingma & Ba, arXiv:1412.6980, algorithm 1 and the reordering at the end of section 2;
    Loshchilov & Hutter, arXiv:1711.05101, algorithm 2, the decay multiplied by lr as in torch;
    AMSGrad: Reddi et al., arXiv:1904.09237, algorithm 2, bias-corrected as in torch.
    """

    amsgrad: bool = False

    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {"amsgrad": (False, True)}
    names_decoupled: ClassVar[bool] = True

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if self.amsgrad else []))

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        root = (1 - h["beta2"] ** t) ** 0.5
        return {
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "lr": h["lr"] * root / (1 - h["beta1"] ** t),
            "eps": h["eps"] * root,
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
        v = s["exp_avg_sq"].lerp(g * g, c["fresh2"])
        new = {"exp_avg": m, "exp_avg_sq": v}
        if self.amsgrad:
            v = new["max_exp_avg_sq"] = s["max_exp_avg_sq"].maximum(v)
        return multiply_add(p, m / v.sqrt().add_(c["eps"]), -c["lr"]), new


# Defaults: the paper's, which are torch's. Ranges: AlgoPerf's AdamW baseline (arXiv:2306.07179,
# appendix D), lr widened from 1e-2 to 1e-1 for small models; AlgoPerf holds beta2 at 0.999, here it
# is searched about it. An L2 penalty goes through the second moment too, so Adam's is smaller.
BETAS = {
    "beta1": Hyper(0.9, 0.5, 0.98, "one_minus_log", below=1.0),
    "beta2": Hyper(0.999, 0.9, 0.9999, "one_minus_log", below=1.0),
}
"""Adam's own, and those of its successors that keep them."""
_HYPERS = {
    "lr": Hyper(1e-3, 1e-4, 1e-1, "log"),
    **BETAS,
    "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
}

ADAM = AdamRule(
    name="adam",
    paper="Kingma & Ba 2015, Adam: a method for stochastic optimization, arXiv:1412.6980",
    hypers=_HYPERS,
    class_name="Adam",
)
ADAMW = AdamRule(
    name="adamw",
    paper="Loshchilov & Hutter 2019, Decoupled weight decay regularization, arXiv:1711.05101",
    hypers={**_HYPERS, "weight_decay": Hyper(1e-2, 5e-3, 1.0, "log")},
    class_name="AdamW",
    decay="decoupled",
)
