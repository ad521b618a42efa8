"""The learning rate divided by the square root of the time that has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.invscaling import InvScaling
from optimizers.schedules.schedule import WARMUP

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(InvScaling):
    """decay = 1 / sqrt(1 + passed / (timescale_fraction * total)); passed: steps after the warmup.

    With a timescale as long as the warmup that is sqrt(warmup / t). Source: Vaswani et al.,
    arXiv:1706.03762, eq. 3, with the peak as unit and reached, as everywhere here, by the warmup's
    last update and held by the next.
    """

    def power(self, h: Mapping[str, Tensor]) -> Tensor | float:
        del h
        return 0.5


# timescale_fraction: the paper's 4,000 of 100,000 updates; T5 has 10^4 of 2^19
# (arXiv:1910.10683, section 3.1.2). The range is about five times less to five times more.
INVERSE_SQRT = InverseSqrt(
    name="inverse_sqrt",
    paper="Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762",
    hypers={
        "timescale_fraction": Hyper(0.04, 0.01, 0.2, "log", at_least=1e-12),
        "warmup_fraction": WARMUP,
    },
)
