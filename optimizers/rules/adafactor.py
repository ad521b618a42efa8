"""Adafactor: Adam's second moment from the means of its rows and columns, steps in proportion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, minimum, square_root, tensor_norm
from optimizers.rule import Rule, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdafactorRule(Rule):
    """Memory for a row and a column in place of a matrix, and steps relative to the weights' size.

        l2:        g = g + weight_decay * p
        decoupled: p = p * (1 - lr * weight_decay)                       (after rms(p) is taken)
        fresh = t^beta2_decay
        matrix:    row = lerp(row, mean of g^2 over the last axis, fresh), column likewise
                   v = row * column / max(mean of row, eps1)
        vector:    v = lerp(v, g^2, fresh)
        u = g / sqrt(max(v, eps1^2))
        p = p - min(lr, 1 / sqrt(t)) * max(eps2, rms(p)) * u / max(1, rms(u) / d)

    A tensor of more axes is a stack of matrices in its last two. lr multiplies a step of the size
    of the weights. eps1 = 0 (torch: None) stands for the machine precision of the dtype computed
    in, which for weights in bfloat16 and float16 is float32's, torch's the weights' own.

    Source: Shazeer & Stern, arXiv:1804.04235, algorithms 4-6, with torch's use of eps1. Equal to
    torch.optim.Adafactor, which takes no complex weights; here they are pairs of real numbers in a
    last axis of two.
    """

    buffers: ClassVar[tuple[str, ...]] = ("row_var", "col_var", "variance")
    shaped: ClassVar[bool] = True
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"eps": ("eps1", "eps2")}
    nones: ClassVar[tuple[str, ...]] = ("eps1",)

    def buffer_shape(self, buffer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A matrix has a row and a column, a vector its variance; what it has not is empty."""
        if buffer == "variance":
            return shape if len(shape) < 2 else (0,)
        if len(shape) < 2:
            return (0,)
        return (*shape[:-1], 1) if buffer == "row_var" else (*shape[:-2], 1, shape[-1])

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        return {
            "lr": minimum(h["lr"], 1 / square_root(t)),
            "fresh": t ** h["beta2_decay"],
            "eps1": h["eps1"],
            "eps2": h["eps2"],
            "d": h["d"],
            **self.decay_scalars(h),
        }

    def stepped(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The step is in proportion to the weights as they were before their decay."""
        scaled: dict[str, Any] = {**c, "scale": _rms(p).clamp(min=c["eps2"])}
        return super().stepped(p, g, s, scaled)

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        precision = _precision(p, c["eps1"])
        squares, new = g * g, dict(s)
        if g.dim() > 2:
            row = s["row_var"].lerp(squares.mean(dim=-1, keepdim=True), c["fresh"])
            column = s["col_var"].lerp(squares.mean(dim=-2, keepdim=True), c["fresh"])
            new |= {"row_var": row, "col_var": column}
            v = row * (column / row.mean(dim=-2, keepdim=True).clamp(min=precision))
        else:
            v = new["variance"] = s["variance"].lerp(squares, c["fresh"])
        u = v.clamp(min=precision**2).rsqrt_().mul_(g)
        rate = c["scale"] * c["lr"] / (_rms(u) / c["d"]).clamp_(min=1.0)
        return p.addcmul(u, rate, value=-1), new

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        super().check(values, argument)
        decay = values.get("beta2_decay", -1.0)
        if decay > 0:
            name = argument("beta2_decay")
            raise ValueError(f"{name} = {decay!r} is invalid; it must lie in (-inf, 0]")


def _rms(x: Tensor) -> Tensor:
    """Each lane's root mean square of its weight: [K, *shape] -> [K, 1, ...]."""
    return tensor_norm(x) / math.sqrt(x[0].numel())


def _precision(p: Tensor, eps: Number) -> Number:
    """`eps`, or the precision of `p` where it is 0."""
    import torch

    return eps + (eps == 0) * torch.finfo(p.dtype).eps


# Defaults: torch.optim.Adafactor. lr: two powers of ten below and one above the paper's 1e-2, that
# is, steps from 0.01% of the weights' size (as AdamW's 1e-4 for weights about 1) to 10%.
# beta2_decay: the exponents of the paper's section 7.2, 0.5 to 1. weight_decay: the range of
# AlgoPerf's Adafactor (mlcommons/algorithmic-efficiency, archived_paper_baselines/adafactor). The
# paper tries d = 1 and 2 and keeps 1; nobody tunes the eps.
ADAFACTOR = AdafactorRule(
    name="adafactor",
    paper="Shazeer & Stern 2018, Adafactor: adaptive learning rates with sublinear memory cost, "
    "arXiv:1804.04235",
    hypers={
        "lr": Hyper(1e-2, 1e-4, 1e-1, "log"),
        "beta2_decay": Hyper(-0.8, -1.0, -0.5, at_least=-math.inf),
        "eps1": Hyper(0.0, 1e-30, 1e-3, "log", searched=False),
        "eps2": Hyper(1e-3, 1e-6, 1e-1, "log", searched=False),
        "d": Hyper(1.0, 1.0, 2.0, searched=False, at_least=1.0),
        "weight_decay": Hyper(0.0, 1e-3, 1.0, "log"),
    },
    class_name="Adafactor",
    decay="decoupled",
)
