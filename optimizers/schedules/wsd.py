"""Warmup, a long stable stretch, and a short decay at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """decay = 1 - (1 - final_factor) * sqrt(s); s: from 0 to 1 in the last decay_fraction * total.

    The decay is a whole number of steps, at least one; the linear warmup is the prefix that other
    schedules have too. Source: Hu et al., arXiv:2404.06395, section 4.2 (the three stretches); the
    decay is Hägele et al.'s, arXiv:2405.18392, section 3 ("1-sqrt"), made to end at final_factor.
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        length = (h["decay_fraction"] * total).round().clamp(min=1)
        done = ((t - (total - length)) / length).clamp(min=0, max=1)
        return 1 - (1 - h["final_factor"]) * done.sqrt()


# Hägele et al. find 10 to 20 % of the steps enough; longer decays pay in short runs.
WSD = WarmupStableDecay(
    name="wsd",
    paper="Hu et al. 2024, MiniCPM, arXiv:2404.06395; Hägele et al. 2024, arXiv:2405.18392",
    hypers={
        "decay_fraction": Hyper(0.2, 0.1, 0.5),
        "final_factor": Hyper(0.0, 0.0, 0.1, searched=False),
        "warmup_fraction": WARMUP,
    },
)
