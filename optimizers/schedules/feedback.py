"""What the schedules that watch a metric have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from optimizers.schedules.schedule import Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Feedback(Schedule):
    """decay = reduction, a part of the state that `observe` makes smaller.

    `mode` says whether less (min) or more (max) of the metric is better.
    """

    mode: str = "min"

    @property
    def initial_state(self) -> Mapping[str, float]:
        return {"best": math.inf * self.sign, "bad": 0.0, "reduction": 1.0}

    @property
    def sign(self) -> int:
        """1, or -1 where more is better: the metric times it is to go down."""
        return 1 if self.mode == "min" else -1

    def maximizing(self) -> Self:
        return replace(self, mode="max")

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del t, total, h
        return state["reduction"]
