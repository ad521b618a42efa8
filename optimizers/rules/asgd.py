"""ASGD: stochastic gradient descent with a falling step and averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, maximum, multiply_add, where
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AsgdRule(Rule):
    """Plain gradient descent, and the running average of its weights from update t0 on.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - eta * weight_decay)
        p = p * (1 - lambd * eta) - eta * g
        ax = ax + mu * (p - ax)
        eta = lr / (1 + lambd * lr * t)^alpha        (lr at the first update)
        mu = 1 / max(1, t - t0)

    lr multiplies the gradient. `ax` are the weights to evaluate; until t0 they are the weights
    themselves. As in torch, eta is computed after the step for the next one, so that a schedule
    takes effect one update late.

    Source: Polyak & Juditsky 1992 for the average; Xu, arXiv:1107.2490, for eta and t0.
    Equal to torch.optim.ASGD; decoupled decay is not torch's.
    """

    buffers: ClassVar[tuple[str, ...]] = ("ax",)
    lane_buffers: ClassVar[Mapping[str, float | tuple[float, ...]]] = {"eta": 0.0, "mu": 1.0}
    torch_twin: ClassVar[bool] = False
    averages: ClassVar[bool] = True

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        rate = where(t == 1, h["lr"], h["eta"])
        return {
            "rate": rate,
            "kept": 1 - h["lambd"] * rate,
            "share": h["mu"],
            "eta": h["lr"] / (1 + h["lambd"] * h["lr"] * t) ** h["alpha"],
            "mu": 1 / maximum(t - h["t0"], 1.0),
            **self.decay_scalars(h, rate),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        new = multiply_add(p * c["kept"], g, -c["rate"])
        return new, {"ax": s["ax"].lerp(new, c["share"])}

    def averaged(self, p: Tensor, s: State, h: Mapping[str, Number]) -> Tensor:
        return s["ax"].to(p.dtype)


# Defaults: torch.optim.ASGD. lr: as SGD's, whose steps it takes; weight_decay: as SGD's, but from
# 1e-6, since no momentum sums the penalty up. lambd: a factor of 100 to either side of the default,
# since it is an L2 penalty too. alpha is Xu's 3/4, and t0 depends on the length of the run.
ASGD = AsgdRule(
    name="asgd",
    paper="Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging",
    hypers={
        "lr": Hyper(1e-2, 1e-3, 5.0, "log"),
        "lambd": Hyper(1e-4, 1e-6, 1e-2, "log"),
        "alpha": Hyper(0.75, 0.5, 1.0, searched=False),
        "t0": Hyper(1e6, 1e2, 1e6, "log", searched=False),
        "weight_decay": Hyper(0.0, 1e-6, 1e-2, "log"),
    },
    class_name="ASGD",
)
