"""AdEMAMix (`ademamix`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, log, maximum, minimum, multiply_add, where
from optimizers.rule import Rule, State
from optimizers.rules.adam import BETAS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdEMAMixRule(Rule):
    """Adam with a second, much slower average of the gradients added to the first.

        p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        n = beta3_t * n + (1 - beta3_t) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr * (m / (1 - beta1^t) + alpha_t * n) / (sqrt(v / (1 - beta2^t)) + eps)

        alpha_t = alpha * min(1, t / alpha_warmup)
        beta3_t goes from beta1 to beta3 in beta3_warmup updates:
        1 / log(beta3_t) = (1 - share) / log(beta1) + share / log(beta3), share = t / beta3_warmup

    A warm-up of 0 updates is none; the paper takes the whole training for both. The update is
    about 1 + alpha times Adam's where gradients agree for long, and lr multiplies all of it.

    Source: Pagliardini et al., arXiv:2409.03137, algorithm 1 and section 3; equals the authors'
    code (apple/ml-ademamix) and, with one length for both warm-ups, pytorch_optimizer's AdEMAMix.
    """

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq")
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2", "beta3")}

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        root = (1 - h["beta2"] ** t) ** 0.5
        return {
            "lr": h["lr"] * root,
            "scale": 1 / (1 - h["beta1"] ** t),
            "alpha": h["alpha"] * _share(t, h["alpha_warmup"]),
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "fresh3": 1 - _slow_beta(h, t),
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
        fast = s["exp_avg_fast"].lerp(g, c["fresh1"])
        slow = s["exp_avg_slow"].lerp(g, c["fresh3"])
        v = s["exp_avg_sq"].lerp(g * g, c["fresh2"])
        step = multiply_add(fast * c["scale"], slow, c["alpha"]).div_(v.sqrt().add_(c["eps"]))
        new = {"exp_avg_fast": fast, "exp_avg_slow": slow, "exp_avg_sq": v}
        return multiply_add(p, step, -c["lr"]), new


def _share(t: Number, warmup: Number) -> Number:
    """How much of a warm-up is behind the update `t`, from 0 to 1."""
    return minimum(t / maximum(warmup, 1.0), 1.0)


def _slow_beta(h: Mapping[str, Number], t: Number) -> Number:
    share = _share(t, h["beta3_warmup"])
    # A beta of 0 has no logarithm; the smallest number stands for it.
    start, end = log(maximum(h["beta1"], 1e-300)), log(maximum(h["beta3"], 1e-300))
    now: Number = math.e ** (1 / ((1 - share) / start + share / end))
    return where(share < 1, minimum(now, h["beta3"]), h["beta3"])


# Defaults: the authors' code (alpha 5 in pytorch_optimizer). Ranges: alpha from 4 to 10 in the
# paper, with less for the small; beta3 from 0.99, whose average holds 100 updates, for short
# training; the others as AdamW's, lr to a third of it since the two averages add up.
_HYPERS = {
    "lr": Hyper(1e-3, 1e-4, 3e-2, "log"),
    **BETAS,
    "beta3": Hyper(0.9999, 0.99, 0.9999, "one_minus_log", below=1.0),
    "alpha": Hyper(2.0, 2.0, 10.0),
    "beta3_warmup": Hyper(0, 0, 100_000, searched=False, integer=True),
    "alpha_warmup": Hyper(0, 0, 100_000, searched=False, integer=True),
    "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(0.0, 5e-3, 1.0, "log"),
}

ADEMAMIX = AdEMAMixRule(
    name="ademamix",
    paper="Pagliardini et al. 2024, The AdEMAMix optimizer: better, faster, older, "
    "arXiv:2409.03137",
    hypers=_HYPERS,
    class_name="AdEMAMix",
    decay="decoupled",
)
