"""Stochastic gradient descent with momentum (`sgd`: L2, `sgdw`: decoupled weight decay)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SgdRule(Rule):
    """Heavy-ball momentum, with Nesterov's form as a switch.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)
        z = momentum * z + (1 - dampening) * g          (no dampening at the first update)
        p = p - lr * z                                  (nesterov: p - lr * (g + momentum * z))

    As in torch, dampening has no effect without momentum, and a drop-in at momentum 0 leaves the
    buffer alone. Lanes keep the last gradient there, since momentum may differ from lane to lane.

    Source: Sutskever et al. 2013, eqs. 1-4 (Nesterov in the gradient's own point, as torch writes
    it); decoupled decay: Loshchilov & Hutter, arXiv:1711.05101, algorithm 1, the decay multiplied
    by lr as torch's AdamW does.
    """

    nesterov: bool = False

    buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {"nesterov": (False, True)}

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        dampening = h["dampening"] * (t > 1) * (h["momentum"] != 0)
        return {
            "lr": h["lr"],
            "momentum": h["momentum"],
            "fresh": 1 - dampening,
            **self.decay_scalars(h),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z = multiply_add(s["momentum_buffer"] * c["momentum"], g, c["fresh"])
        direction = multiply_add(g, z, c["momentum"]) if self.nesterov else z
        return multiply_add(p, direction, -c["lr"]), {"momentum_buffer": z}

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        super().check(values, argument)
        momentum = values.get("momentum", self.hypers["momentum"].default)
        dampening = values.get("dampening", self.hypers["dampening"].default)
        if self.nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "nesterov = True needs momentum in (0, inf) and dampening = 0, "
                f"got momentum = {momentum!r} and dampening = {dampening!r}"
            )


# Defaults: torch.optim.SGD. Ranges: AlgoPerf's Nesterov baseline (arXiv:2306.07179, appendix D),
# lr down to 1e-3 and weight_decay up to 1e-2 for models smaller than AlgoPerf's.
_HYPERS = {
    "lr": Hyper(1e-3, 1e-3, 5.0, "log"),
    "momentum": Hyper(0.0, 0.7, 0.995, "one_minus_log"),
    "dampening": Hyper(0.0, 0.0, 0.9, searched=False, at_least=-math.inf),
    "weight_decay": Hyper(0.0, 1e-7, 1e-2, "log"),
}

SGD = SgdRule(
    name="sgd",
    paper="Sutskever et al. 2013, On the importance of initialization and momentum",
    hypers=_HYPERS,
    class_name="SGD",
)
# With momentum m, L2 decay is summed by the buffer and shrinks the weights by lr * wd / (1 - m) an
# update; decoupled decay is not. At m = 0.9 a range ten times as high has the same effect, and its
# upper end keeps lr * weight_decay at 0.5 or less for every lr searched.
SGDW = SgdRule(
    name="sgdw",
    paper="Loshchilov & Hutter 2019, Decoupled weight decay regularization, arXiv:1711.05101",
    hypers={**_HYPERS, "weight_decay": Hyper(0.0, 1e-6, 1e-1, "log")},
    class_name="SGDW",
    decay="decoupled",
)
