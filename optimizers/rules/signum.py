"""Signum (`signum`): the sign of the momentum."""

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
class SignumRule(Rule):
    """Every weight moves by lr against the sign of an average of its gradients.

        g = g + weight_decay * p
        m = momentum * m + (1 - momentum) * g
        p = p - lr * sign(m)

    With momentum 0 it is signSGD. Where a gradient is not finite the weight becomes NaN; the
    reference leaves it still for good.

    Source: Bernstein et al., arXiv:1802.04434, algorithm 2 (signSGD: algorithm 1); L2 decay as in
    the authors' runs with MXNet's Signum. Equals pytorch_optimizer's SignSGD, whose decay is
    decoupled unless asked otherwise.
    """

    buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {"lr": h["lr"], "fresh": 1 - h["momentum"], **self.decay_scalars(h)}

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        m = s["momentum_buffer"].lerp(g, c["fresh"])
        return multiply_add(p, sign(m), -c["lr"]), {"momentum_buffer": m}


# lr and momentum by default, and weight_decay 1e-5: the authors' best for ResNet-50 on ImageNet
# (jxbz/signSGD), the decay 0 here as in torch's own classes. Ranges: lr is the length of a weight's
# step as Lion's is; momentum as SGD's; weight_decay about theirs.
_HYPERS = {
    "lr": Hyper(1e-4, 3e-5, 3e-2, "log"),
    "momentum": Hyper(0.9, 0.7, 0.995, "one_minus_log", below=1.0),
    "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
}

SIGNUM = SignumRule(
    name="signum",
    paper="Bernstein et al. 2018, signSGD: compressed optimisation for non-convex problems, "
    "arXiv:1802.04434",
    hypers=_HYPERS,
    class_name="Signum",
)
