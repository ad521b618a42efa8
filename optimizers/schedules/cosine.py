"""The learning rate let down along half a cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """decay = final_factor + (1 - final_factor) * (1 + cos(pi * progress)) / 2.

    `progress` goes from 0 at the warmup's end to 1 at `total`. Source: Loshchilov & Hutter,
    arXiv:1608.03983, eq. 5 without restarts; torch's CosineAnnealingLR in closed form.
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        wave = (1 + (self.progress(t, total, h) * math.pi).cos()) / 2
        return h["final_factor"] + (1 - h["final_factor"]) * wave


# final_factor: torch's eta_min of 0, which is AlgoPerf's too.
COSINE = Cosine(
    name="cosine",
    paper="Loshchilov & Hutter 2017, SGDR: stochastic gradient descent with warm restarts, "
    "arXiv:1608.03983",
    hypers={
        "final_factor": Hyper(0.0, 0.0, 0.1, searched=False),
        "warmup_fraction": WARMUP,
    },
)
