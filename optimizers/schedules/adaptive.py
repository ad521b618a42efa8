"""The learning rate divided when a metric stops improving, as scikit-learn does it."""

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
class Adaptive(Feedback):
    """decay = reduction, which `observe` multiplies by `factor` after `patience` bad evaluations.

    Bad is an evaluation that is not better than the best one by `tol` or more. Unlike in `plateau`,
    a smaller gain moves the best one too. No cut is made once `reduction` is at or under
    `min_factor`. `patience` counts evaluations.

    Source: scikit-learn's learning_rate="adaptive" of the MLPs (n_iter_no_change is `patience`).
    There training ends where no cut is made any more, at lr <= 1e-6, and a NaN counts as better;
    here it is bad.
    """

    def observe(
        self, state: Mapping[str, Tensor], metric: Tensor, h: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        now, best = metric * self.sign, state["best"] * self.sign
        bad = (state["bad"] + 1) * ~(now <= best - h["tol"])
        cut = bad > h["patience"]
        worth_it = state["reduction"] > h["min_factor"]
        return {
            "best": metric.where(now < best, state["best"]),
            "bad": bad * ~cut,
            "reduction": (state["reduction"] * h["factor"]).where(
                cut & worth_it, state["reduction"]
            ),
        }


# factor, patience, tol: scikit-learn's constants and defaults; min_factor: its 1e-6 as a part of
# its default lr of 1e-3. Ranges as in `plateau`.
ADAPTIVE = Adaptive(
    name="adaptive",
    paper="scikit-learn, MLPClassifier, learning_rate='adaptive'",
    hypers={
        "factor": Hyper(0.2, 0.1, 0.5, "log", below=1.0),
        "patience": Hyper(10, 1, 10, integer=True),
        "tol": Hyper(1e-4, 0.0, 1e-2, searched=False),
        "min_factor": Hyper(1e-3, 0.0, 0.1, searched=False),
        "warmup_fraction": WARMUP,
    },
)
