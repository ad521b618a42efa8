"""The learning rate cut at given points of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MultiStep(Schedule):
    """decay = gamma ^ (number of cuts with t >= round(fraction * total)), from the very first step.

    `cuts` names the knobs that hold the fractions, in any order. Source: torch's MultiStepLR.
    """

    cuts: tuple[str, ...] = ("first_fraction", "second_fraction")

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        done = t.new_zeros(t.shape)
        for name in self.cuts:
            done = done + (t >= (h[name] * total).round())
        return h["gamma"] ** done


# He et al., section 4.2: x 0.1 at 32k and 48k of 64k updates. The ranges hold those of
# detectors too (2/3 and 8/9 of the training, arXiv:1703.06870); gamma as in `step`.
MULTISTEP = MultiStep(
    name="multistep",
    paper="He et al. 2016, Deep residual learning for image recognition, arXiv:1512.03385",
    hypers={
        "first_fraction": Hyper(0.5, 0.3, 0.7),
        "second_fraction": Hyper(0.75, 0.7, 0.95),
        "gamma": Hyper(0.1, 0.05, 0.5, "log"),
        "warmup_fraction": WARMUP,
    },
)
