"""The learning rate cut when a metric stops improving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.feedback import Feedback
from optimizers.schedules.schedule import WARMUP

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Plateau(Feedback):
    """decay = reduction, which `observe` multiplies by `factor` after `patience` bad evaluations.

    Bad is an evaluation that does not beat the best one by `threshold` (a NaN never does). After a
    cut, `cooldown` evaluations are not counted. `reduction` does not go below `min_factor`, and a
    cut of `eps` or less is not made. `patience` and `cooldown` count evaluations.

    `mode` (min, max) and `threshold_mode` (rel, abs) are static switches, with torch's meaning.
    Source: torch's ReduceLROnPlateau; there `min_lr` and `eps` are learning rates, here factors.
    """

    threshold_mode: str = "rel"

    @property
    def initial_state(self) -> Mapping[str, float]:
        return {**super().initial_state, "cooldown": 0.0}

    def observe(
        self, state: Mapping[str, Tensor], metric: Tensor, h: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        better = self._beats(metric, state["best"], h["threshold"])
        cooling = state["cooldown"] > 0
        bad = (state["bad"] + 1) * ~better * ~cooling
        cut = bad > h["patience"]
        lower = (state["reduction"] * h["factor"]).maximum(h["min_factor"])
        worth_it = state["reduction"] - lower > h["eps"]
        return {
            "best": metric.where(better, state["best"]),
            "bad": bad * ~cut,
            "cooldown": h["cooldown"].where(cut, state["cooldown"] - cooling.to(metric.dtype)),
            "reduction": lower.where(cut & worth_it, state["reduction"]),
        }

    def _beats(self, metric: Tensor, best: Tensor, threshold: Tensor) -> Tensor:
        sign = self.sign
        if self.threshold_mode == "rel":
            return metric * sign < best * (1 - sign * threshold) * sign
        return metric * sign < (best - sign * threshold) * sign


# factor, patience, threshold, cooldown, eps: torch's defaults. A sweep's trials are often shorter
# than torch's patience of ten epochs, hence the range from 1; factor from torch's 0.1 to halving.
PLATEAU = Plateau(
    name="plateau",
    paper="PyTorch, torch.optim.lr_scheduler.ReduceLROnPlateau",
    hypers={
        "factor": Hyper(0.1, 0.1, 0.5, "log", below=1.0),
        "patience": Hyper(10, 1, 10, integer=True),
        "threshold": Hyper(1e-4, 0.0, 1e-2, searched=False),
        "cooldown": Hyper(0, 0, 5, searched=False, integer=True),
        "min_factor": Hyper(0.0, 0.0, 0.1, searched=False),
        "eps": Hyper(1e-8, 0.0, 1e-6, searched=False),
        "warmup_fraction": WARMUP,
    },
)
