"""The contract of a schedule: a pure factor on the learning rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self

from optimizers.hyper import Hyper, check_hypers

if TYPE_CHECKING:
    from torch import Tensor

NOTHING: Mapping[str, Tensor] = MappingProxyType({})

WARMUP = Hyper(0.0, 0.0, 0.1, below=1.0)
"""Fraction of all steps that the linear warmup takes. Default none, as in torch; AlgoPerf's
baselines use 0.05 (arXiv:2306.07179, appendix D), and the search goes to twice that."""


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """A factor on the trial's lr over time: a linear warmup, then the subclass's `decay`.

        warmup = round(warmup_fraction * total)                         (whole steps)
        factor = min(1, (t + 1) / warmup) * decay

    `t` counts the optimizer steps done, so the first update has t = 0 and, with a warmup of n
    steps, the factor 1/n (never 0); the n-th has 1. A schedule without `warmup_fraction` among its
    hypers has no such prefix. Every fraction of the horizon is one of `total`, warmup included.
    After `total` the formulas go on as torch's do.

    All arguments are float64 tensors that broadcast: `t` [T], `total` and each `h` [K] or [K, 1].
    """

    name: str
    paper: str = field(compare=False)
    hypers: Mapping[str, Hyper] = field(compare=False)

    rise: ClassVar[str] = "warmup_fraction"
    """The knob that says which fraction of all steps the first rise takes."""

    @property
    def initial_state(self) -> Mapping[str, float]:
        """What one trial carries from evaluation to evaluation, before the first one."""
        return {}

    @property
    def feedback(self) -> bool:
        """Does the factor depend on the metric, that is on `observe`?"""
        return bool(self.initial_state)

    @property
    def foreseeable(self) -> bool:
        """May the factors of coming steps be worked out ahead? Not where they ask a function."""
        return True

    def factor(
        self,
        t: Tensor,
        total: Tensor,
        h: Mapping[str, Tensor],
        state: Mapping[str, Tensor] = NOTHING,
    ) -> Tensor:
        """What multiplies the learning rate of the update after `t` updates."""
        decay = self.decay(t, total, h, state)
        if "warmup_fraction" not in self.hypers:
            return decay
        warmup = self.warmup_steps(total, h)
        return ((t + 1) / warmup.clamp(min=1)).clamp(max=1) * decay

    def momentum(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor | None:
        """Momentum (or beta1) itself at that update; None: the schedule leaves it alone."""
        del t, total, h
        return None

    def maximizing(self) -> Self:
        """This schedule for a metric of which more is better; without feedback, the same."""
        return self

    def check(self, values: Mapping[str, float]) -> None:
        """Refuse invalid hyperparameters of one trial.

        Raises:
            ValueError: names the argument, its value and the valid range.
        """
        check_hypers(self.name, self.hypers, values)

    @abstractmethod
    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        """The factor without the warmup's ramp."""

    def observe(
        self, state: Mapping[str, Tensor], metric: Tensor, h: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """The state after an evaluation, `metric` [K]; unchanged where there is no feedback."""
        del metric, h
        return state

    def warmup_steps(self, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """Length of the warmup in whole steps."""
        return (h["warmup_fraction"] * total).round()

    def progress(self, t: Tensor, total: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """0 until the warmup's end, then linear to 1 at `total`, and on."""
        warmup = self.warmup_steps(total, h)
        return ((t - warmup) / (total - warmup).clamp(min=1)).clamp(min=0)
