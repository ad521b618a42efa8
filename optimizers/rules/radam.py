"""RAdam: Adam without its adaptive step until the second moment can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, select, square_root, where
from optimizers.rule import Rule, State
from optimizers.rules.adam import BETAS
from optimizers.rules.rectification import rectification

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RadamRule(Rule):
    """Adam times a factor r that undoes the early variance of the second moment.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        rho, r = rectification(beta2, t)
        rho > threshold: p = p - lr * r * m / (1 - beta1^t) * sqrt(1 - beta2^t) / (sqrt(v) + eps)
        elsewhere, unrectified = "momentum": p = p - lr * m / (1 - beta1^t)
                   unrectified = "skip":     p = p, with no decay of the weights either

    lr multiplies a step of about 1 above the threshold, and the averaged gradient below.

    Source: Liu et al., arXiv:1908.03265, algorithm 2, which is threshold = 4 with "momentum"; eps
    is torch's. Equal to torch.optim.RAdam (threshold = 5, "momentum"; decoupled with its
    decoupled_weight_decay). The authors' code (LiyuanLucasLiu/RAdam) is threshold = 5 and, unless
    told `degenerated_to_sgd`, "skip", with decoupled decay.
    """

    unrectified: str = "momentum"

    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {"unrectified": ("momentum", "skip")}
    names_decoupled: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = (
        "lr",
        "betas",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
    )

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        rho, factor = rectification(h["beta2"], t)
        rectified = (rho > h["threshold"]) * 1.0
        step = h["lr"] / (1 - h["beta1"] ** t)
        below = step if self.unrectified == "momentum" else step * 0.0
        c = {
            "rectified": rectified,
            "lr": where(rectified, step * factor * square_root(1 - h["beta2"] ** t), below),
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "eps": h["eps"],
            **self.decay_scalars(h),
        }
        if self.unrectified == "skip" and self.decay != "l2":
            c["keep"] = 1 - (1 - c["keep"]) * rectified
        return c

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        m = s["exp_avg"].lerp(g, c["fresh1"])
        v = s["exp_avg_sq"].lerp(g * g, c["fresh2"])
        direction = select(c["rectified"], m / v.sqrt().add_(c["eps"]), m)
        return multiply_add(p, direction, -c["lr"]), {"exp_avg": m, "exp_avg_sq": v}


# Defaults: torch.optim.RAdam. Ranges: those of Adam, which it is after its first updates.
RADAM = RadamRule(
    name="radam",
    paper="Liu et al. 2020, On the variance of the adaptive learning rate, arXiv:1908.03265",
    hypers={
        "lr": Hyper(1e-3, 1e-4, 1e-1, "log"),
        **BETAS,
        "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
        "threshold": Hyper(5.0, 4.0, 6.0, searched=False, at_least=4.0),
    },
    class_name="RAdam",
)
