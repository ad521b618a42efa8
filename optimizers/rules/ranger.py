"""Ranger (`ranger`): RAdam, Lookahead and centralized gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number
from optimizers.lookahead import ALPHA, LookaheadRule
from optimizers.rules.radam import RadamRule


@dataclass(frozen=True, kw_only=True)
class RangerFastRule(RadamRule):
    """Ranger's step of the fast weights: RAdam, but that the decay goes with the rectified step.

    step = lr * r_t * sqrt(1 - beta2^t) / (1 - beta1^t),  p = p * (1 - step * weight_decay)
    """

    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    positional: ClassVar[tuple[str, ...]] = ()
    names_decoupled: ClassVar[bool] = False

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        c = super().scalars(h, t)
        return {**c, **self.decay_scalars(h, c["lr"])}


@dataclass(frozen=True, kw_only=True)
class RangerRule(LookaheadRule):
    """RAdam on centralized gradients, its weights pulled back at every k-th update.

        g = g - mean(g) over each output unit's weights       (centralize, the default here)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        step = lr * r_t * sqrt(1 - beta2^t) / (1 - beta1^t),  u = m / (sqrt(v) + eps)
        step = lr / (1 - beta1^t),  u = m                     (while rho_t <= threshold)
        p = p - step * (u + weight_decay * p)
        every k updates:  slow = slow + alpha * (p - slow),  p = slow

    rho_t and r_t are RAdam's. Equals the reference, with gc_loc = True and gc_conv_only = False;
    its N_sma_threshhold is threshold here, its use_gc is centralize. pytorch_optimizer's
    Ranger differs: it steps uphill while the step is not rectified, unless degenerated_to_sgd.

    Source: lessw2020/Ranger-Deep-Learning-Optimizer, version 2020.9.4 (ranger2020.py); RAdam: Liu
    et al., arXiv:1908.03265, algorithm 2; Lookahead: Zhang et al., arXiv:1907.08610, algorithm 1;
    gradient centralization: Yong et al., arXiv:2004.01461.
    """


# Defaults: the reference. Ranges: AdamW's (the steps are Adam's), k and alpha as Lookahead's.
_HYPERS = {
    "lr": Hyper(1e-3, 1e-4, 1e-1, "log"),
    "alpha": ALPHA,
    "k": Hyper(6, 5, 20, "log", integer=True, at_least=1.0),
    "threshold": Hyper(5, 4, 6, searched=False, at_least=4.0),
    "beta1": Hyper(0.95, 0.5, 0.98, "one_minus_log", below=1.0),
    "beta2": Hyper(0.999, 0.9, 0.9999, "one_minus_log", below=1.0),
    "eps": Hyper(1e-5, 1e-12, 1e-3, "log", searched=False),
    "weight_decay": Hyper(0.0, 5e-3, 1.0, "log"),
}
_PAPER = "Wright 2019, Ranger: RAdam, Lookahead and gradient centralization, lessw2020 on GitHub"

RANGER = RangerRule(
    name="ranger",
    paper=_PAPER,
    hypers=_HYPERS,
    class_name="Ranger",
    inner=RangerFastRule(
        name="ranger",
        paper=_PAPER,
        hypers={name: hyper for name, hyper in _HYPERS.items() if name not in ("k", "alpha")},
        class_name="Ranger",
        decay="decoupled",
        centralize=True,
    ),
)
