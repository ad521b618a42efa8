"""YellowFin: momentum SGD that tunes its learning rate and its momentum by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, lane_sum, multiply_add
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor

_WINDOW = 20


@dataclass(frozen=True, kw_only=True)
class YellowFinRule(Rule):
    """Heavy-ball momentum with the rate and momentum that are best on a noisy quadratic.

    The lane's squared gradient norm n = |g|^2 is taken as the curvature. `mean(...)` is a running
    mean with `beta`, free of its start at zero (divided by 1 - beta^t); all norms are of the whole
    lane.

        h_min, h_max = exp(mean(log min n)), exp(mean(log max n))      (min, max: the last 20 steps)
        C = mean(n) - |mean(g)|^2                                       (at least eps)
        D = mean(mean(|g|) / mean(n))
        x = the root in [0, 1) of D^2 * x = (1 - x)^3 * 2 * C / h_min^2
        mu = max(x, (sqrt(h_max / h_min) - 1) / (sqrt(h_max / h_min) + 1))^2
        a = lr * (1 - sqrt(mu))^2 / h_min          (slow_start: * min(1, t / 200))
        z = mu * z + g
        p = p - a * z

    `lr` multiplies the rate that is found (the authors' `lr_factor`), and stays at 1 as a rule.

    `eps` keeps denominators and what the logarithm is taken of away from zero, as the authors do.
    The cubic's one real root is taken by the hyperbolic sine, which, unlike Vieta's substitution,
    loses no digits where the noise is small. Differences from the authors' code: tuned from the
    first step on, with no first rate set by hand; both ends of the curvature range are smoothed in
    the logarithm, as in the paper (their last code smooths h_max itself); an L2 penalty is part of
    the gradient measured; no clipping (give the gradient clipped).

    Source: Zhang & Mitliagkas, arXiv:1706.03471, algorithm 1 with its sub-procedures (curvature
    range, variance, distance) and the closed form of its single step; window, eps and slow start:
    the authors' code, JianGoForIt/YellowFin_Pytorch.
    """

    slow_start: bool = True

    buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer", "grad_avg")
    lane_buffers: ClassVar[Mapping[str, float | tuple[float, ...]]] = {
        "curv_win": (0.0,) * _WINDOW,
        "h_min_avg": 0.0,
        "h_max_avg": 0.0,
        "grad_norm_avg": 0.0,
        "grad_norm_squared_avg": 0.0,
        "dist_to_opt_avg": 0.0,
    }
    measures: ClassVar[bool] = True
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {"slow_start": (True, False)}

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {"fresh": 1 - h["beta"], **self.decay_scalars(h)}

    def measure(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        mean = s["grad_avg"].lerp(g, c["fresh"])
        return {"grad_avg": mean}, {"squared": lane_sum(g * g), "mean": lane_sum(mean * mean)}

    def tune(self, h: State, t: Tensor, sums: State) -> dict[str, Tensor]:
        eps, debias = h["eps"], 1 - h["beta"] ** t
        n = sums["squared"]
        numbers = self._range(h, t, n)
        numbers["grad_norm_squared_avg"] = _mean(h, "grad_norm_squared_avg", n)
        numbers["grad_norm_avg"] = _mean(h, "grad_norm_avg", n.sqrt())
        ratio = numbers["grad_norm_avg"] / (numbers["grad_norm_squared_avg"] + eps)
        numbers["dist_to_opt_avg"] = _mean(h, "dist_to_opt_avg", ratio)

        h_min = (numbers["h_min_avg"] / debias).exp() + eps
        h_max = (numbers["h_max_avg"] / debias).exp() + eps
        noise = numbers["grad_norm_squared_avg"] / debias - sums["mean"] / debias**2
        distance = numbers["dist_to_opt_avg"] / debias + eps
        root = _single_step(distance * h_min, noise.maximum(eps) + eps)
        spread = (h_max / h_min).sqrt()
        root = root.maximum((spread - 1) / (spread + 1))
        lr = h["lr"] * (1 - root) ** 2 / h_min
        if self.slow_start:
            lr = lr * (t / (10 * _WINDOW)).clamp(max=1)
        return {**numbers, "lr": lr, "momentum": root * root}

    def _range(self, h: State, t: Tensor, n: Tensor) -> dict[str, Tensor]:
        """The window of squared norms and the running means of its ends' logarithms."""
        import torch

        window = torch.cat([h["curv_win"][:, 1:], n.unsqueeze(1)], dim=1)
        age = torch.arange(_WINDOW, 0, -1, dtype=t.dtype, device=t.device)
        seen = age <= t.unsqueeze(1)
        lowest = window.where(seen, math.inf).amin(1)
        highest = window.where(seen, -math.inf).amax(1)
        return {
            "curv_win": window,
            "h_min_avg": _mean(h, "h_min_avg", (lowest + h["eps"]).log()),
            "h_max_avg": _mean(h, "h_max_avg", (highest + h["eps"]).log()),
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z = (s["momentum_buffer"] * c["momentum"]).add_(g)
        return multiply_add(p, z, -c["lr"]), {"momentum_buffer": z, "grad_avg": s["grad_avg"]}


def _mean(h: State, name: str, value: Tensor) -> Tensor:
    return h["beta"] * h[name] + (1 - h["beta"]) * value


def _single_step(distance: Tensor, noise: Tensor) -> Tensor:
    """The root x of distance^2 * x = 2 * noise * (1 - x)^3; `distance` is that times h_min."""
    third = distance / (6 * noise) ** 0.5  # sqrt(p / 3) of y^3 + p * y + p = 0, where y = x - 1
    return 1 - 2 * third * ((1.5 / third).asinh() / 3).sinh()


# Defaults: the authors'. lr: the paper tunes its factor over 1/3 to 10; the range is that.
_HYPERS = {
    "lr": Hyper(1.0, 1 / 3, 10.0, "log"),
    "beta": Hyper(0.999, 0.9, 0.9999, "one_minus_log", searched=False, below=1.0),
    "eps": Hyper(1e-6, 1e-12, 1e-3, "log", searched=False, at_least=1e-30),
    "weight_decay": Hyper(0.0, 1e-7, 1e-2, "log"),
}

YELLOWFIN = YellowFinRule(
    name="yellowfin",
    paper="Zhang & Mitliagkas 2019, YellowFin and the art of momentum tuning, arXiv:1706.03471",
    hypers=_HYPERS,
    class_name="YellowFin",
)
