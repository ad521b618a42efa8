"""Adamax: Adam with the largest gradient so far in place of the second moment."""

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
class AdamaxRule(Rule):
    """Adam in the infinity norm: the step is bounded by lr, and one quiet gradient changes nothing.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, |g| + eps)
        p = p - lr / (1 - beta1^t) * m / u

    lr multiplies a step of at most about 1.

    Source: Kingma & Ba, arXiv:1412.6980, algorithm 2; eps, which the paper has not, as torch adds
    it. Equal to torch.optim.Adamax.
    """

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_inf")

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "lr": h["lr"] / (1 - h["beta1"] ** t),
            "fresh1": 1 - h["beta1"],
            "beta2": h["beta2"],
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
        m = s["exp_avg"].lerp(g, c["fresh1"])
        u = (s["exp_inf"] * c["beta2"]).maximum(g.abs().add_(c["eps"]))
        return multiply_add(p, m / u, -c["lr"]), {"exp_avg": m, "exp_inf": u}


# Defaults: torch.optim.Adamax, which are the paper's. Ranges: those of Adam, of which it is a form;
# the paper's lr is twice Adam's, which a range of three powers of ten holds.
ADAMAX = AdamaxRule(
    name="adamax",
    paper="Kingma & Ba 2015, Adam: a method for stochastic optimization, arXiv:1412.6980",
    hypers={
        "lr": Hyper(2e-3, 1e-4, 1e-1, "log"),
        **BETAS,
        "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
    },
    class_name="Adamax",
)
