"""Schedule-Free SGD and AdamW: weights to evaluate that are an average, in place of a schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, maximum, minimum, multiply_add, select
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-300  # the least sum of weights that is divided by


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeRule(Rule):
    """What both Schedule-Free rules share: the averaging of the steps of z.

        a = lr * min(1, t / warmup_steps)
        u = t^r * (largest a so far)^weight_lr_power
        c = u / (sum of all u so far)
        z = z - step
        x = (1 - c) * x + c * z
        y = (1 - momentum) * z + momentum * x

    The parameters are y, where the gradient is taken; z is state, x comes of both by `averaged`.
    """

    averages: ClassVar[bool] = True
    lane_buffers: ClassVar[Mapping[str, float | tuple[float, ...]]] = {
        "lr_max": 0.0,
        "weight_sum": 0.0,
    }
    momentum: ClassVar[str] = "momentum"
    """The knob that mixes x into y."""

    @abstractmethod
    def step(
        self, y: Tensor, z: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(what is taken from z, new state but z)."""

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        warm = minimum(t / maximum(h["warmup_steps"], 1.0), 1.0)
        lr = h["lr"] * warm
        lr_max = maximum(h["lr_max"], lr)
        weight = t ** h["r"] * lr_max ** h["weight_lr_power"]
        weight_sum = h["weight_sum"] + weight
        share = weight / maximum(weight_sum, _TINY)
        return {
            "first": 1 * (t <= 1),
            "lr": lr,
            "lr_max": lr_max,
            "weight_sum": weight_sum,
            "share": share,
            "part": h[self.momentum] * (1 - share) - 1,
            "weight_decay": self._decay(h, lr, warm),
        }

    def shrunk(self, p: Tensor, c: Mapping[str, Number]) -> Tensor:
        """`p` as it is: decay is part of the step of z."""
        return p

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z = select(c["first"], p, s["z"])
        step, new = self.step(p, z, g, s, c)
        return multiply_add(p.lerp(z, c["share"]), step, c["part"]), {"z": z - step, **new}

    def averaged(self, p: Tensor, s: State, h: Mapping[str, Number]) -> Tensor:
        return p.lerp(s["z"], 1 - 1 / h[self.momentum])

    def _decay(self, h: Mapping[str, Number], lr: Number, warm: Number) -> Number:
        if self.decay == "l2":
            return h["weight_decay"]
        return h["weight_decay"] * (lr if self.decay == "decoupled" else h["lr_factor"] * warm)


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeSgdRule(ScheduleFreeRule):
    """SGD steps of z, evaluated at their average x; no schedule is needed.

        l2:        g = g + weight_decay * y
        a = lr * min(1, t / warmup_steps)
        u = t^r * (largest a so far)^weight_lr_power;  c = u / (sum of all u so far)
        z = z - a * g
        decoupled: z = z - a * (g + weight_decay * z)
        x = (1 - c) * x + c * z
        y = (1 - momentum) * z + momentum * x

    `lr` multiplies the gradient. The parameters are y; `averaged` gives x = (y - (1 - momentum) *
    z) / momentum, the weights to evaluate. Independent decay has the schedule's and the warmup's
    factors in place of a. While lr is 0 from the start nothing is averaged.

    Source: Defazio et al., arXiv:2405.15682, equations 3-5; equals the authors'
    schedulefree.SGDScheduleFree without its modes, and with decoupled decay their
    ScheduleFreeWrapper over SGD with decoupled decay.
    """

    buffers: ClassVar[tuple[str, ...]] = ("z",)

    def step(
        self, y: Tensor, z: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        step = g * c["lr"]
        return step if self.decay == "l2" else multiply_add(step, z, c["weight_decay"]), {}


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamWRule(ScheduleFreeRule):
    """AdamW steps of z without a first moment, evaluated at their average x.

        v = beta2 * v + (1 - beta2) * g^2
        a = lr * min(1, t / warmup_steps)
        u = t^r * (largest a so far)^weight_lr_power;  c = u / (sum of all u so far)
        z = z - a * (g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * y)
        x = (1 - c) * x + c * z
        y = (1 - beta1) * z + beta1 * x

    `lr` multiplies the normalized gradient. The parameters are y; `averaged` gives x = (y - (1 -
    beta1) * z) / beta1, the weights to evaluate. Decoupled decay stands inside the step and is
    taken at y; independent decay has the schedule's and the warmup's factors in place of a. While
    lr is 0 from the start nothing is averaged.

    Source: Defazio et al., arXiv:2405.15682, algorithm 1; equals the authors'
    schedulefree.AdamWScheduleFree without its modes (the second moment is bias-corrected).
    """

    buffers: ClassVar[tuple[str, ...]] = ("z", "exp_avg_sq")
    momentum: ClassVar[str] = "beta1"

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        c = super().scalars(h, t)
        root = (1 - h["beta2"] ** t) ** 0.5
        return {**c, "fresh2": 1 - h["beta2"], "size": c["lr"] * root, "eps": h["eps"] * root}

    def step(
        self, y: Tensor, z: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        v = s["exp_avg_sq"].lerp(g * g, c["fresh2"])
        step = (g * c["size"]).div_(v.sqrt().add_(c["eps"]))
        if self.decay != "l2":
            step = multiply_add(step, y, c["weight_decay"])
        return step, {"exp_avg_sq": v}


# Defaults: schedulefree's. lr: its README advises 1 to 10 times AdamW's and 10 to 50 times SGD's of
# a schedule. So AdamW's range moves up by 3 at its lower end; SGD's stays there, and ends at 10: on
# digits-mlp nothing was learned above. momentum and beta1: its 0.9, 0.95 and 0.98, and as far
# below. weight_decay: AdamW's and SGD's. warmup_steps are updates, so they depend on the task; r
# and weight_lr_power matter little in the paper.
_LAST = {
    "warmup_steps": Hyper(0, 0, 10_000, searched=False, integer=True),
    "r": Hyper(0.0, 0.0, 1.0, searched=False),
    "weight_lr_power": Hyper(2.0, 0.0, 2.0, searched=False),
}
_PAPER = "Defazio et al. 2024, The road less scheduled, arXiv:2405.15682"

SCHEDULE_FREE_SGD = ScheduleFreeSgdRule(
    name="schedule_free_sgd",
    paper=_PAPER,
    hypers={
        "lr": Hyper(1.0, 1e-3, 10.0, "log"),
        "momentum": Hyper(0.9, 0.7, 0.98, "one_minus_log", at_least=1e-3, below=1.0),
        "weight_decay": Hyper(0.0, 1e-7, 1e-2, "log"),
        **_LAST,
    },
    class_name="ScheduleFreeSGD",
)
SCHEDULE_FREE_ADAMW = ScheduleFreeAdamWRule(
    name="schedule_free_adamw",
    paper=_PAPER,
    hypers={
        "lr": Hyper(2.5e-3, 3e-4, 1e-1, "log"),
        "beta1": Hyper(0.9, 0.8, 0.98, "one_minus_log", at_least=1e-3, below=1.0),
        "beta2": Hyper(0.999, 0.9, 0.9999, "one_minus_log", below=1.0),
        "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
        "weight_decay": Hyper(0.0, 5e-3, 1.0, "log"),
        **_LAST,
    },
    class_name="ScheduleFreeAdamW",
    decay="decoupled",
)
