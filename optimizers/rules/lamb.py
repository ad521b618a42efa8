"""LAMB (`lamb`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, tensor_norm
from optimizers.rule import Rule, State
from optimizers.rules.adam import BETAS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LambRule(Rule):
    """Adam's direction, for each weight tensor scaled to the tensor's own length.

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * p
        p = p - lr * |p| / |u| * u                  (|p| / |u| is 1 where either is 0)

    So lr is the share of its length by which a weight tensor moves. Decoupled decay is inside u,
    as published; "l2" and "independent" are as in every rule, and u has no decay then. The paper's
    bounds on |p| are left out, as in TensorFlow Addons, and no tensor is left out of the scaling,
    as in the paper. `bias_correction = False` is the paper's third version; pytorch_optimizer's
    Lamb has it with adam_debias = True, |p| bounded by 10 and eps added to |u|.

    Source: You et al., arXiv:1904.00962, algorithm 2.
    """

    bias_correction: bool = True

    shaped: ClassVar[bool] = True
    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {"bias_correction": (True, False)}

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        inside = {"weight_decay": h["weight_decay"]}
        c = {
            "lr": h["lr"],
            "fresh1": 1 - h["beta1"],
            "fresh2": 1 - h["beta2"],
            "eps": h["eps"],
            **(inside if self.decay == "decoupled" else self.decay_scalars(h)),
        }
        if self.bias_correction:
            root = (1 - h["beta2"] ** t) ** 0.5
            c |= {"unbias": root / (1 - h["beta1"] ** t), "eps": h["eps"] * root}
        return c

    def shrunk(self, p: Tensor, c: Mapping[str, Number]) -> Tensor:
        return p if self.decay == "decoupled" else super().shrunk(p, c)

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        m = s["exp_avg"].lerp(g, c["fresh1"])
        v = s["exp_avg_sq"].lerp(g * g, c["fresh2"])
        u = m / v.sqrt().add_(c["eps"])
        if self.bias_correction:
            u.mul_(c["unbias"])
        if self.decay == "decoupled":
            u = multiply_add(u, p, c["weight_decay"])
        length, step = tensor_norm(p), tensor_norm(u)
        ratio = (length / step).where((length != 0) & (step != 0), length.new_ones(()))
        return p - u.mul_(ratio * c["lr"]), {"exp_avg": m, "exp_avg_sq": v}


# Defaults: the paper's betas, eps and weight_decay (section 4 and appendix). Ranges: lr is the
# share of a tensor's length that one update moves, 1e-3 to 1e-2 in the paper (BERT, ResNet-50) and
# wider here by 10 at both ends; the betas as Adam's; weight_decay about the paper's 0.01 to 0.1.
_HYPERS = {
    "lr": Hyper(1e-3, 1e-4, 1e-1, "log"),
    **BETAS,
    "eps": Hyper(1e-6, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(1e-2, 1e-4, 1.0, "log"),
}

LAMB = LambRule(
    name="lamb",
    paper="You et al. 2020, Large batch optimization for deep learning: training BERT in 76 "
    "minutes, arXiv:1904.00962",
    hypers=_HYPERS,
    class_name="Lamb",
    decay="decoupled",
)
