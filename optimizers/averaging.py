"""Averages of the weights along training, for evaluation: SWA and EMA, and their registry.

Pure and without torch; `optimizers.weight_average` applies them to a model or to K lanes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper, check_hypers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Average(ABC):
    """A running average of the weights, and what it does to the learning rate.

        average = average + share * (weights - average)       (after each update)

    All arguments are float64 tensors that broadcast: `t`, `total`, `n` and each `h` are [K] or
    numbers. `total` counts the trial's updates, `n` the weights averaged so far.
    """

    name: str
    paper: str = field(compare=False)
    hypers: Mapping[str, Hyper] = field(compare=False)

    moves_lr: ClassVar[bool] = False
    """Is `lr_factor` another one than the schedule's?"""

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return (self.__doc__ or "").partition("\n")[0]

    @abstractmethod
    def weight(self, t: Tensor, total: Tensor, n: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """The share of the weights after update `t` (from 1) in the average; 0: not taken.

        It is 1 for the first ones taken.
        """

    def lr_factor(
        self,
        t: Tensor,
        total: Tensor,
        h: Mapping[str, Tensor],
        scheduled: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """What multiplies lr in the update after `t` updates; `scheduled` is the schedule's."""
        del total, h
        return scheduled(t)

    def schedule_step(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """The step that the schedule is at, after `t` updates."""
        del total, h
        return t

    def start_step(self, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """After so many updates the averaging begins."""
        return (h["start"] * total).round()

    def check(self, values: Mapping[str, float]) -> None:
        """Refuse invalid hyperparameters of one trial.

        Raises:
            ValueError: names the argument, its value and the valid range.
        """
        check_hypers(self.name, self.hypers, values)


@dataclass(frozen=True, kw_only=True)
class Swa(Average):
    """The mean of the weights at every `frequency`-th update from `start` on.

        start:  s = round(start * total)
        share = 1 / (n + 1) at the updates s, s + frequency, s + 2 * frequency ..., else 0
        factor = scheduled(min(t, s)) * (1 - a) + swa_lr * a
        a = (1 - cos(pi * min(1, (t - s) / round(anneal * total)))) / 2      (0 before s)

    From the start on the schedule stands still, and the factor moves to the constant `swa_lr`
    (times the trial's own lr), as torch's SWALR with its cosine has it; `anneal = 0`: at once.

    Source: Izmailov et al., arXiv:1803.05407, algorithm 1 with a constant rate; equals
    torch.optim.swa_utils' AveragedModel and SWALR.
    """

    moves_lr: ClassVar[bool] = True

    def weight(self, t: Tensor, total: Tensor, n: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        since = t - self.start_step(total, h)
        taken = (since >= 0) & (since % h["frequency"] == 0)
        return taken / (n + 1)

    def lr_factor(
        self,
        t: Tensor,
        total: Tensor,
        h: Mapping[str, Tensor],
        scheduled: Callable[[Tensor], Tensor],
    ) -> Tensor:
        start = self.start_step(total, h)
        length = (h["anneal"] * total).round()
        done = (t - start + (length == 0)) / length.clamp(min=1)
        share = (1 - (math.pi * done.clamp(0, 1)).cos()) / 2
        standing = scheduled(self.schedule_step(t, total, h))
        return standing * (1 - share) + h["swa_lr"] * share

    def schedule_step(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        return t.minimum(self.start_step(total, h))


@dataclass(frozen=True, kw_only=True)
class Ema(Average):
    """The exponential mean of the weights of every update from `start` on.

        share = 1 - decay                       (1 for the first)
        warmup:  decay = min(decay, (1 + n) / (10 + n))

    Without warmup the first weights keep the share decay^n, so a `decay` far above 1 - 1 / total
    hardly leaves the start. The learning rate is the schedule's.

    Source: Polyak & Juditsky 1992 for averaging; the exponential form and `decay` as
    torch.optim.swa_utils.get_ema_multi_avg_fn, which it equals; warmup: TensorFlow's
    ExponentialMovingAverage with `num_updates`.
    """

    warmup: bool = False

    @property
    def summary(self) -> str:
        return super().summary.rstrip(".") + ("; at first of fewer." if self.warmup else ".")

    def weight(self, t: Tensor, total: Tensor, n: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        decay = h["decay"].minimum((1 + n) / (10 + n)) if self.warmup else h["decay"]
        share = (1 - decay).where(n > 0, 1.0)
        return share * (t >= self.start_step(total, h))


# start: the paper's 75 % of the budget; its longest tails begin at half. swa_lr: the authors' 0.05
# after 0.1 for ResNets; 0.01 after 0.05 for VGG is the middle of the range. anneal: torch's 10
# epochs, of the 200 or so that it is used with. frequency: every update, which needs no knowledge
# of the epoch (the paper takes one a epoch).
SWA = Swa(
    name="swa",
    paper="Izmailov et al. 2018, Averaging weights leads to wider optima, arXiv:1803.05407",
    hypers={
        "start": Hyper(0.75, 0.5, 0.9, below=1.0),
        "swa_lr": Hyper(0.5, 0.05, 1.0, "log"),
        "anneal": Hyper(0.05, 0.0, 0.1, searched=False, below=1.0),
        "frequency": Hyper(1, 1, 1000, "log", searched=False, integer=True, at_least=1.0),
    },
)
# decay: torch's default; the range spans means over the last 10 to the last 10,000 updates.
EMA = Ema(
    name="ema",
    paper="Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging",
    hypers={
        "decay": Hyper(0.999, 0.9, 0.9999, "one_minus_log", below=1.0),
        "start": Hyper(0.0, 0.0, 0.5, searched=False, below=1.0),
    },
)
EMA_WARMUP = replace(EMA, name="ema_warmup", warmup=True)

AVERAGES: Mapping[str, Average] = {average.name: average for average in (SWA, EMA, EMA_WARMUP)}
"""Every average by name."""
