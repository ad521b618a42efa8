"""The learning rate as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.schedules.schedule import WARMUP, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """decay = 1."""

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del total, h, state
        return t.new_ones(t.shape)


CONSTANT = Constant(
    name="constant",
    paper="Robbins & Monro 1951, A stochastic approximation method (with a fixed step)",
    hypers={"warmup_fraction": WARMUP},
)
