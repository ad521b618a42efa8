"""Cosine annealing with warm restarts, on a step counter that may be moved by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.optim.optimizer import Optimizer

from optimizers.lr_scheduler.factor_lr import FactorLR, rates, set_rate, whole
from optimizers.schedules.cosine_warm_restarts import COSINE_WARM_RESTARTS


class CosineAnnealingWarmRestarts(FactorLR):
    """lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2. torch's arguments.

    T_cur counts the steps since the last restart, T_i is the length of the present cycle: T_0 and
    then T_mult times the one before. `step(epoch)` goes to any epoch, between two whole ones too.

    Two slips of torch's are not repeated: an `epoch` at which a cycle begins always begins it, and
    a `last_epoch` of any size finds its cycle.
    """

    schedule = COSINE_WARM_RESTARTS

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803  (torch's names)
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        whole("T_0", T_0)
        whole("T_mult", T_mult)
        self.T_0 = T_0
        self.T_i: float = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.T_0, {"period_fraction": 1.0, "growth": self.T_mult}

    def columns(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The factor, T_cur and T_i."""
        return [self.schedule.factor(t, total, h), *COSINE_WARM_RESTARTS.cycle(t, total, h)]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        factor = self.row(self._elapsed())[0]
        return [self.eta_min + (base - self.eta_min) * factor for base in self.bases()]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one step, or to `epoch`.

        Raises:
            ValueError: a negative epoch.
        """
        if epoch is not None and not epoch >= 0:
            raise ValueError(f"epoch = {epoch!r} is invalid; it must lie in [0, inf)")
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        elapsed = self._elapsed() + 1 if epoch is None else epoch
        self.last_epoch = self.last_epoch + 1 if epoch is None else math.floor(epoch)
        _, self.T_cur, self.T_i = self.row(elapsed)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_rate(group, lr)
        self._last_lr = rates(self.optimizer)

    def _elapsed(self) -> float:
        """The steps since the first cycle's start; with equal cycles, since this one's."""
        if self.T_mult == 1:
            return self.T_cur
        return self.T_cur + (self.T_i - self.T_0) / (self.T_mult - 1)
