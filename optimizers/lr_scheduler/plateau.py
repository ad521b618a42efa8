"""The scheduler that cuts the learning rate when a metric stops improving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, SupportsFloat

from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.optimizer import Optimizer

from optimizers.lr_scheduler.factor_lr import lanes, rates, set_rate
from optimizers.schedules.plateau import PLATEAU


class ReduceLROnPlateau(torch_schedulers.ReduceLROnPlateau):
    """Cuts the present lr when `step(metric)` stops improving: torch's class, driven by `Plateau`.

    torch's arguments and attributes. It is a subclass of torch's, by which training frameworks know
    that `step` wants a metric.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        PLATEAU.check({"factor": factor, "patience": patience, "cooldown": cooldown})
        super().__init__(
            optimizer, mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps
        )

    def step(  # type: ignore[override]  # as in torch, which asks for a metric here only
        self, metrics: SupportsFloat, epoch: int | None = None
    ) -> None:
        """Take in a metric, and cut the learning rates if it is time; each group is a lane."""
        groups = self.optimizer.param_groups
        present = [float(group["lr"]) for group in groups]
        state: dict[str, Sequence[float]] = {
            "best": [self.best],
            "bad": [self.num_bad_epochs],
            "cooldown": [self.cooldown_counter],
            "reduction": present,
        }
        after = replace(PLATEAU, mode=self.mode, threshold_mode=self.threshold_mode).observe(
            lanes(state), lanes({"metric": [float(metrics)]})["metric"], lanes(self._hypers())
        )
        self.best = float(after["best"][0])
        self.num_bad_epochs = int(after["bad"][0])
        self.cooldown_counter = int(after["cooldown"][0])
        for group, old, new in zip(groups, present, after["reduction"].tolist(), strict=True):
            if new != old:
                set_rate(group, new)
        self._last_lr = rates(self.optimizer)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch

    def _hypers(self) -> dict[str, Sequence[float]]:
        """Plateau's hyperparameters in units of lr, as what is cut is the present lr."""
        floors = self.min_lrs
        if len(floors) != len(self.optimizer.param_groups):
            if self.default_min_lr is None:
                raise ValueError(f"min_lr = {floors!r} is invalid; it must have a number a group")
            floors = [self.default_min_lr]
        return {
            "factor": [self.factor],
            "patience": [self.patience],
            "threshold": [self.threshold],
            "cooldown": [self.cooldown],
            "min_factor": floors,
            "eps": [self.eps],
        }
