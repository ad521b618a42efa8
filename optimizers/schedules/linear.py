"""The learning rate moved along a straight line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """decay = start_factor + (final_factor - start_factor) * min(1, progress).

    `progress` goes from 0 at the warmup's end to 1 at `total`. Source: torch's LinearLR.
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        progress = self.progress(t, total, h).clamp(max=1)
        return h["start_factor"] + (h["final_factor"] - h["start_factor"]) * progress


# From the full learning rate to 0, the paper's "D2Z"; torch's defaults make a warmup of it.
# start_factor: down to torch's 1/3.
LINEAR = Linear(
    name="linear",
    paper="Bergsma et al. 2025, Straight to zero, arXiv:2502.15938",
    hypers={
        "start_factor": Hyper(1.0, 1 / 3, 1.0, searched=False),
        "final_factor": Hyper(0.0, 0.0, 0.1, searched=False),
        "warmup_fraction": WARMUP,
    },
)
