"""The learning rate brought up to the peak once, and down to nearly nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.schedules.momentum_cycle import MomentumCycle

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class OneCycle(MomentumCycle):
    """decay = start / div_factor + height + end / (div_factor * final_div_factor).

    start, height and end are parts of one (`parts`): from the first step all is start, at
    pct_start * total - 1 height, at total - 1 end. With `three_phase` the fall takes as long as the
    rise and leads back to start; then that turns into end. `anneal_strategy` is cos or linear.
    Momentum goes from max_momentum down to base_momentum at the peak, and back.

    Source: Smith & Topin, arXiv:1708.07120; phases and defaults are torch's OneCycleLR's, of which
    max_lr is the trial's lr here.
    """

    anneal_strategy: str = "cos"
    three_phase: bool = False

    rise: ClassVar[str] = "pct_start"

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        start, height, end = self.parts(t, total, h)
        return (start + end / h["final_div_factor"]) / h["div_factor"] + height

    def height(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """How much of the peak is in the learning rate."""
        return self.parts(t, total, h)[1]

    def parts(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How much of the start, the peak and the end is in the learning rate."""
        top = h["pct_start"] * total - 1
        rise = self._anneal((t / top).where(t < top, 1.0))
        if not self.three_phase:
            fall = self._anneal(((t - top) / (total - 1 - top)).where(t > top, 0.0))
            return 1 - rise, rise * (1 - fall), fall
        foot = 2 * top
        fall = self._anneal(((t - top) / top).where(t < foot, 1.0).clamp(min=0))
        third = (t > foot) & (foot < total - 1)
        last = self._anneal(((t - foot) / (total - 1 - foot)).where(third, 0.0))
        return (1 - rise + fall) * (1 - last), rise * (1 - fall), last

    def _anneal(self, way: Tensor) -> Tensor:
        return way if self.anneal_strategy == "linear" else (1 - (way * math.pi).cos()) / 2


# torch's defaults, which are fastai's. pct_start: Smith's cycle has nearly half of the training
# for the rise; div_factor: his range test begins at a tenth or less of the peak.
ONE_CYCLE = OneCycle(
    name="one_cycle",
    paper="Smith & Topin 2018, Super-convergence, arXiv:1708.07120",
    hypers={
        "pct_start": Hyper(0.3, 0.1, 0.5, below=1.0),
        "div_factor": Hyper(25.0, 10.0, 100.0, "log", at_least=1e-12),
        "final_div_factor": Hyper(1e4, 1e2, 1e5, "log", searched=False, at_least=1e-12),
        "base_momentum": Hyper(0.85, 0.8, 0.9, "one_minus_log", searched=False, below=1.0),
        "max_momentum": Hyper(0.95, 0.9, 0.97, "one_minus_log", searched=False, below=1.0),
    },
)
