"""The learning rate moved up and down between two bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.schedules.momentum_cycle import MomentumCycle

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Cyclic(MomentumCycle):
    """decay = base_factor + (1 - base_factor) * height: triangles, the trial's lr at their tops.

    Each rises for step_fraction * total steps and falls for down_ratio times as many. `mode` says
    how tall they are: 1 (triangular), 1 / 2^n after n whole cycles (triangular2), or
    gamma ^ (t / total) (exp_range), where gamma is over the training what torch's is over one step;
    with a gamma of 1 that is triangular. Momentum goes from max_momentum down to base_momentum and
    back. Source: Smith, arXiv:1506.01186, section 3; torch's CyclicLR.
    """

    mode: str = "exp_range"

    rise: ClassVar[str] = "step_fraction"

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del state
        return h["base_factor"] + (1 - h["base_factor"]) * self.height(t, total, h)

    def height(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """The triangle, as tall as `mode` makes it."""
        cycles = t / (h["step_fraction"] * (1 + h["down_ratio"]) * total)
        within = cycles - cycles.floor()
        up = 1 / (1 + h["down_ratio"])
        triangle = (within / up).minimum((1 - within) / (1 - up))
        if self.mode == "triangular":
            return triangle
        if self.mode == "triangular2":
            return triangle * 0.5 ** cycles.floor()
        return triangle * h["gamma"] ** (t / total)


# step_fraction: three whole cycles, which the paper finds to train most of the way (section 3.2);
# the range goes from ten to one. base_factor: a third or a quarter of the top (section 3.3).
# gamma and momenta: torch's defaults.
CYCLIC = Cyclic(
    name="cyclic",
    paper="Smith 2017, Cyclical learning rates for training neural networks, arXiv:1506.01186",
    hypers={
        "step_fraction": Hyper(1 / 6, 0.05, 0.5, "log", at_least=1e-12),
        "down_ratio": Hyper(1.0, 0.5, 2.0, "log", searched=False, at_least=1e-12),
        "base_factor": Hyper(0.25, 0.1, 0.5, "log"),
        "gamma": Hyper(1.0, 0.01, 1.0, "log", searched=False),
        "base_momentum": Hyper(0.8, 0.7, 0.9, "one_minus_log", searched=False, below=1.0),
        "max_momentum": Hyper(0.9, 0.85, 0.97, "one_minus_log", searched=False, below=1.0),
    },
)
