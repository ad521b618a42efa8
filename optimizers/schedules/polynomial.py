"""The learning rate let down along a power of the time that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """decay = final_factor + (1 - final_factor) * (1 - min(1, progress)) ^ power.

    `progress` goes from 0 at the warmup's end to 1 at `total`. Source: torch's PolynomialLR, which
    has no final factor; Chen et al., arXiv:1606.00915, section 4.1 ("poly").
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        left = 1 - self.progress(t, total, h).clamp(max=1)
        return h["final_factor"] + (1 - h["final_factor"]) * left ** h["power"]


# power: torch's default of 1; DeepLab (the paper) has 0.9, LARS 2 (arXiv:1708.03888).
POLYNOMIAL = Polynomial(
    name="polynomial",
    paper="Chen et al. 2018, DeepLab: semantic image segmentation, arXiv:1606.00915",
    hypers={
        "power": Hyper(1.0, 0.5, 3.0, "log"),
        "final_factor": Hyper(0.0, 0.0, 0.1, searched=False),
        "warmup_fraction": WARMUP,
    },
)
