"""The learning rate let down along half a cosine again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-9  # a logarithm that should be whole may come out a little less


@dataclass(frozen=True, kw_only=True)
class CosineWarmRestarts(Schedule):
    """decay = final_factor + (1 - final_factor) * (1 + cos(pi * position / length)) / 2.

    `position` is the time since the last restart and `length` the cycle's: period_fraction * total
    in whole steps for the first, from the warmup's end on, and `growth` times the one before for
    each later one. Source: Loshchilov & Hutter, arXiv:1608.03983, eq. 5; torch's
    CosineAnnealingWarmRestarts (T_cur, T_i).
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        position, length = self.cycle(t, total, h)
        wave = (1 + (position / length * math.pi).cos()) / 2
        return h["final_factor"] + (1 - h["final_factor"]) * wave

    def cycle(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Steps since the last restart, and the length of the cycle that it began.

        Cycle n begins after period * (growth^n - 1) / (growth - 1) steps, or n * period.
        """
        first = (h["period_fraction"] * total).round().clamp(min=1)
        passed = (t - self.warmup_steps(total, h)).clamp(min=0)
        even = h["growth"] == 1
        growth = h["growth"].where(~even, 2.0)
        grown = (1 + passed * (growth - 1) / first).log() / growth.log()
        ratio = growth ** (grown + _ROUNDING).floor()
        begin = (first * (ratio - 1) / (growth - 1)).where(~even, passed - passed.remainder(first))
        return (passed - begin).clamp(min=0), (first * ratio).where(~even, first)


# growth: the paper's T_mult of 2, or 1 for cycles of one length. period_fraction: with growth 2,
# 1/7 is three whole cycles; the range goes from 20 equal cycles to two.
COSINE_WARM_RESTARTS = CosineWarmRestarts(
    name="cosine_warm_restarts",
    paper="Loshchilov & Hutter 2017, SGDR: stochastic gradient descent with warm restarts, "
    "arXiv:1608.03983",
    hypers={
        "period_fraction": Hyper(1 / 7, 0.05, 0.5, "log", at_least=1e-12),
        "growth": Hyper(2, 1, 3, integer=True, at_least=1),
        "final_factor": Hyper(0.0, 0.0, 0.1, searched=False),
        "warmup_fraction": WARMUP,
    },
)
