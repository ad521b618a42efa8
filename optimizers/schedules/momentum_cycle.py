"""What the schedules that move momentum against the learning rate have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.schedules.schedule import Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MomentumCycle(Schedule):
    """momentum = max_momentum - (max_momentum - base_momentum) * height.

    Momentum is lowest where the learning rate is highest. `cycle_momentum=False` leaves it alone.
    These schedules rise of their own and have no warmup prefix.
    """

    cycle_momentum: bool = True

    @abstractmethod
    def height(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """How near the peak: 0 at the cycle's foot, 1 at its top."""

    def momentum(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor | None:
        if not self.cycle_momentum:
            return None
        reach = h["max_momentum"] - h["base_momentum"]
        return h["max_momentum"] - reach * self.height(t, total, h)
