"""The learning rate cut every so many steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """decay = gamma ^ floor(t / round(step_fraction * total)), counted from the very first step.

    A step is at least one update long. Source: torch's StepLR.
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        length = (h["step_fraction"] * total).round().clamp(min=1)
        return h["gamma"] ** (t / length).floor()


# gamma: torch's default; step_fraction: x 0.1 at 30 and 60 of 90 epochs, ResNet's schedule (He et
# al., arXiv:1512.03385, and torch's ImageNet example). The range goes from ten cuts to two, gamma
# from halving to half of torch's default.
STEP = Step(
    name="step",
    paper="He et al. 2016, Deep residual learning for image recognition, arXiv:1512.03385",
    hypers={
        "step_fraction": Hyper(1 / 3, 0.1, 0.5, at_least=1e-6),
        "gamma": Hyper(0.1, 0.05, 0.5, "log"),
        "warmup_fraction": WARMUP,
    },
)
