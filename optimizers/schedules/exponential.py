"""The learning rate shrunk by the same ratio at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """decay = final_factor ^ progress; `progress` goes from 0 at the warmup's end to 1 at `total`.

    The knob is the factor at the end and not torch's ratio of one step, so that it means the same
    for any number of steps. Source: torch's ExponentialLR, gamma = final_factor ^ (1 / total).
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        return h["final_factor"] ** self.progress(t, total, h)


# AlgoPerf's momentum baselines end at 1e-3 or 1e-2 of the peak (`end_factor`, arXiv:2306.07179,
# appendix D); the range goes on to 1e-1 for short runs, the default is the middle.
EXPONENTIAL = Exponential(
    name="exponential",
    paper="Li & Arora 2020, An exponential learning rate schedule, arXiv:1910.07454",
    hypers={
        "final_factor": Hyper(1e-2, 1e-3, 1e-1, "log"),
        "warmup_fraction": WARMUP,
    },
)
