"""The learning rate divided by a power of the time that has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class InvScaling(Schedule):
    """decay = (1 + passed / (timescale_fraction * total)) ^ -power_t; passed: steps after warmup.

    Source: scikit-learn's learning_rate="invscaling", lr / t ^ power_t. Its t is 1 plus the samples
    seen so far; here the unit is a fraction of the steps, so that it means the same for any number
    of them.
    """

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        passed = (t - self.warmup_steps(total, h)).clamp(min=0)
        return (1 + passed / (h["timescale_fraction"] * total)) ** -self.power(h)

    def power(self, h: Mapping[str, Tensor]) -> Tensor | float:
        """The exponent's size."""
        return h["power_t"]


# power_t: MLPClassifier's default, and down to SGDRegressor's 0.25. timescale_fraction: 1/1000
# makes the curve that scikit-learn's t draws over a thousand samples.
INVSCALING = InvScaling(
    name="invscaling",
    paper="scikit-learn, MLPClassifier and SGDRegressor, learning_rate='invscaling'",
    hypers={
        "power_t": Hyper(0.5, 0.25, 1.0),
        "timescale_fraction": Hyper(1e-3, 1e-4, 1e-1, "log", at_least=1e-12),
        "warmup_fraction": WARMUP,
    },
)
