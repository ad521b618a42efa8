"""Prodigy: Adam that finds its step size by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, lane_sum, multiply_add, select, where
from optimizers.rule import Rule, State
from optimizers.rules.adam import BETAS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ProdigyRule(Rule):
    """Adam on d * g, where d estimates the distance from the first weights p0 to the solution.

        a = d * lr          (use_bias_correction: * sqrt(1 - beta2^t) / (1 - beta1^t))
        m = beta1 * m + (1 - beta1) * d * g
        v = beta2 * v + (1 - beta2) * d^2 * g^2
        r = beta3 * r + d * a * <g, p0 - p>                         (over the whole lane)
        s = beta3 * s + d * a * g           (safeguard_warmup: d * d * g)
        e = d_coef * r / |s|_1                                      (over the whole lane)
        d = max(d, e)                       (growth_rate: at most so many times the old d)
        p = p - a * m / (sqrt(v) + d * eps)

    `lr` multiplies the step size that is found, and stays at 1 as a rule. Decoupled decay takes
    `a * weight_decay * p`, with the old d as in the step. `beta3 = 0` means sqrt(beta2) and
    `growth_rate = 0` no limit (inf does too). Until the first gradient that is not zero d stays.

    Differences from the reference: a step whose gradients have all been zero so far, or whose lr is
    zero, still decays the weights and the averages, where prodigyopt passes over it; with beta1 = 0
    prodigyopt scales the step's gradient by the new d, here the old one stays; in a drop-in each
    param group has its own d. `decay="l2"` is prodigyopt's `decouple=False`.

    Source: Mishchenko & Defazio, arXiv:2306.06101, algorithm 4 with the d of the authors' package
    prodigyopt, which this equals: both sums carry a factor 1 / d0, and an estimate may raise d even
    above `growth_rate` while it is still d0.
    """

    use_bias_correction: bool = False
    safeguard_warmup: bool = False

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "s", "p0")
    lane_buffers: ClassVar[Mapping[str, float | tuple[float, ...]]] = {
        "d": 0.0,
        "d_max": 0.0,
        "d_numerator": 0.0,
    }
    measures: ClassVar[bool] = True
    copies: ClassVar[tuple[str, ...]] = ("p0",)
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "use_bias_correction": (False, True),
        "safeguard_warmup": (False, True),
    }

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        d = where(t > 1, h["d"], h["d0"])
        rate = d * h["lr"]
        if self.use_bias_correction:
            rate = rate * (1 - h["beta2"] ** t) ** 0.5 / (1 - h["beta1"] ** t)
        return {
            "first": 1 * (t <= 1),
            "d": d,
            "lr": rate,
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "beta3": _beta3(h),
            "fresh1": d * (1 - h["beta1"]),
            "fresh2": d * d * (1 - h["beta2"]),
            "fresh3": d / h["d0"] * (d if self.safeguard_warmup else rate),
            "share": d / h["d0"] * rate,
            "eps": h["eps"],
            **self.decay_scalars(h, rate),
        }

    def measure(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        p0 = select(c["first"], p, s["p0"])
        if p0 is p:  # which the driver updates in place
            p0 = p.clone()
        weighted = multiply_add(s["s"] * c["beta3"], g, c["fresh3"])
        new = {
            "exp_avg": multiply_add(s["exp_avg"] * c["beta1"], g, c["fresh1"]),
            "exp_avg_sq": multiply_add(s["exp_avg_sq"] * c["beta2"], g * g, c["fresh2"]),
            "s": weighted,
            "p0": p0,
        }
        product = (p0 - p).mul_(g).mul_(c["share"])
        return new, {"gained": lane_sum(product), "size": lane_sum(weighted.abs())}

    def tune(self, h: State, t: Tensor, sums: State) -> dict[str, Tensor]:
        d = where(t > 1, h["d"], h["d0"])
        d_max = where(t > 1, h["d_max"], h["d0"])
        numerator = _beta3(h) * h["d_numerator"] + sums["gained"]
        started = sums["size"] != 0
        estimate = h["d_coef"] * numerator / where(started, sums["size"], sums["size"] + 1)
        base = where(d == h["d0"], d.maximum(estimate), d)
        highest = d_max.maximum(estimate)
        limit = where(h["growth_rate"], h["growth_rate"], h["growth_rate"] + math.inf)
        return {
            "d": where(started, highest.minimum(base * limit), d),
            "d_max": where(started, highest, d_max),
            "d_numerator": numerator,
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        scale = s["exp_avg_sq"].sqrt().add_(c["d"] * c["eps"])
        return multiply_add(p, s["exp_avg"] / scale, -c["lr"]), dict(s)

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        if values.get("growth_rate") == math.inf:
            values = {**values, "growth_rate": 0.0}
        super().check(values, argument)


def _beta3(h: Mapping[str, Number]) -> Number:
    root: Number = h["beta2"] ** 0.5
    return where(h["beta3"], h["beta3"], root)


# Defaults: prodigyopt's. It says to tune d_coef, 0.5 to 2, and to leave lr at 1, so lr has the same
# narrow range. betas and weight_decay: as AdamW's here (AlgoPerf), since d * lr stands where AdamW
# has its lr.
_HYPERS = {
    "lr": Hyper(1.0, 0.5, 2.0, "log"),
    **BETAS,
    "beta3": Hyper(0.0, 0.9, 0.9999, "one_minus_log", searched=False, below=1.0),
    "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(0.0, 5e-3, 1.0, "log"),
    "d0": Hyper(1e-6, 1e-8, 1e-4, "log", searched=False, at_least=1e-30),
    "d_coef": Hyper(1.0, 0.5, 2.0, "log"),
    "growth_rate": Hyper(0.0, 1.01, 2.0, searched=False),
}

PRODIGY = ProdigyRule(
    name="prodigy",
    paper="Mishchenko & Defazio 2024, Prodigy: an expeditiously adaptive parameter-free learner, "
    "arXiv:2306.06101",
    hypers=_HYPERS,
    class_name="Prodigy",
    decay="decoupled",
)
