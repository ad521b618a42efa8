"""LARS (`lars`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, tensor_norm
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LarsRule(Rule):
    """SGD with momentum whose step is, for each weight tensor, scaled to the tensor's length.

        rate = lr * trust_coefficient * |p| / (|g| + weight_decay * |p|)
        z = momentum * z + rate * (g + weight_decay * p)
        p = p - z

    So lr * trust_coefficient is about the share of its length by which a weight tensor moves. The
    ratio of lengths is 1 where |p| or the divisor is 0 (pytorch_optimizer's: trust_coefficient
    times it, by which a BatchNorm's shift would jump by lr times its gradient). L2 decay is inside
    the rate, as published; with "decoupled" or "independent" decay the rate has none. No tensor is
    left out of the scaling; pytorch_optimizer's LARS leaves out vectors, and multiplies z and not
    the gradient by lr, which is the same while lr is constant.

    Source: You et al., arXiv:1708.03888, algorithm 1.
    """

    shaped: ClassVar[bool] = True
    buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "lr": h["lr"],
            "momentum": h["momentum"],
            "trust": h["trust_coefficient"],
            **self.decay_scalars(h),
        }

    def gradient(self, p: Tensor, g: Tensor, c: Mapping[str, Number]) -> Tensor:
        return self.centralized(g)

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        length, divisor = tensor_norm(p), tensor_norm(g)
        if self.decay == "l2":
            divisor = multiply_add(divisor, length, c["weight_decay"])
            g = multiply_add(g, p, c["weight_decay"])
        ratio = (length / divisor).where((length != 0) & (divisor != 0), length.new_ones(()))
        ratio = ratio * c["trust"]
        z = (s["momentum_buffer"] * c["momentum"]).addcmul_(g, ratio * c["lr"])
        return p - z, {"momentum_buffer": z}


# Defaults: the paper's momentum, trust coefficient and weight_decay; lr 1, whose step is then a
# thousandth of each tensor's length. Ranges: the paper's lr goes from 2 to 32 with the batch; 0.1
# to 50 moves a tensor by 1e-4 to 5e-2 of its length, before momentum. Momentum as SGD's;
# weight_decay about the paper's 5e-4.
_HYPERS = {
    "lr": Hyper(1.0, 0.1, 50.0, "log"),
    "momentum": Hyper(0.9, 0.7, 0.995, "one_minus_log", below=1.0),
    "weight_decay": Hyper(5e-4, 1e-6, 1e-2, "log"),
    "trust_coefficient": Hyper(1e-3, 1e-4, 1e-1, "log", searched=False),
}

LARS = LarsRule(
    name="lars",
    paper="You et al. 2017, Large batch training of convolutional networks, arXiv:1708.03888",
    hypers=_HYPERS,
    class_name="LARS",
)
