"""NAdam (`nadam`: L2, `nadamw`: decoupled weight decay)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, square_root
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class NadamRule(Rule):
    """Adam whose first moment looks one update ahead, after Nesterov.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)
        product = product * mu_t                                  (starts at 1)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        ahead = mu_(t+1) * m / (1 - product * mu_(t+1)) + (1 - mu_t) * g / (1 - product)
        p = p - lr * ahead / (sqrt(v / (1 - beta2^t)) + eps)

    lr multiplies a step of about 1, as Adam's. The corrections are folded into the coefficients of
    m and g and into eps, so that the body has one division.

    Source: Dozat 2016, algorithm 2 with its warm-up of mu, m averaged by beta1 rather than by mu_t
    as torch does. Equal to torch.optim.NAdam; `nadamw` to
    the same with decoupled_weight_decay=True.
    """

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    lane_buffers: ClassVar[Mapping[str, float | tuple[float, ...]]] = {"mu_product": 1.0}
    names_decoupled: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = (
        "lr",
        "betas",
        "eps",
        "weight_decay",
        "momentum_decay",
        "decoupled_weight_decay",
    )

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        mu, ahead = (
            h["beta1"] * (1 - 0.5 * 0.96 ** (step * h["momentum_decay"])) for step in (t, t + 1)
        )
        product = h["mu_product"] * mu
        root = square_root(1 - h["beta2"] ** t)
        return {
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "of_m": h["lr"] * root * ahead / (1 - product * ahead),
            "of_g": h["lr"] * root * (1 - mu) / (1 - product),
            "eps": h["eps"] * root,
            "mu_product": product,
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
        ahead = multiply_add(m * c["of_m"], g, c["of_g"])
        new = p.addcdiv(ahead, v.sqrt().add_(c["eps"]), value=-1)
        return new, {"exp_avg": m, "exp_avg_sq": v}


# Defaults: torch.optim.NAdam; weight_decay of `nadamw`: torch's AdamW. Ranges: AlgoPerf's NAdamW
# baseline (mlcommons/algorithmic-efficiency, paper_baselines/nadamw/tuning_search_space.json), lr
# widened from 1e-2 to 1e-1 for small models and beta2 searched about its 0.999, as for AdamW; L2 as
# Adam's. Nobody tunes momentum_decay: it is Dozat's 0.004.
_HYPERS = {
    "lr": Hyper(2e-3, 1e-4, 1e-1, "log"),
    "beta1": Hyper(0.9, 0.9, 0.996, "one_minus_log", below=1.0),
    "beta2": Hyper(0.999, 0.9, 0.9999, "one_minus_log", below=1.0),
    "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
    "momentum_decay": Hyper(4e-3, 1e-4, 1e-1, "log", searched=False),
}
_PAPER = "Dozat 2016, Incorporating Nesterov momentum into Adam, ICLR workshop"

NADAM = NadamRule(name="nadam", paper=_PAPER, hypers=_HYPERS, class_name="NAdam")
NADAMW = NadamRule(
    name="nadamw",
    paper=_PAPER,
    hypers={**_HYPERS, "weight_decay": Hyper(1e-2, 5e-3, 1.0, "log")},
    class_name="NAdamW",
    decay="decoupled",
)
