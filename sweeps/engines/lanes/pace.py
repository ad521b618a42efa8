"""`Pace`: one trial's learning rate and momentum at each step, worked out an epoch at a time.

A schedule with feedback changes its mind at evaluations only, so all factors of an epoch are known
when it begins: `[S]` numbers a lane, instead of a call a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optimizers import AVERAGES, RULES, SCHEDULES
from optimizers.spaces import with_decay

if TYPE_CHECKING:
    from optimizers import Average, Rule
    from sweeps.config import Config


def rule_of(config: Config) -> tuple[Rule, dict[str, float]]:
    """Return a configuration's rule with its switches, and all of its hyperparameters."""
    plain = RULES[config.optimizer]
    rule = plain.switched(config.switches)
    hypers = with_decay(plain, rule.decay)
    return rule, {name: config.hypers.get(name, h.default) for name, h in hypers.items()}


def average_of(config: Config) -> Average | None:
    """Return a configuration's average of the weights; None where it has none."""
    return None if config.average == "none" else AVERAGES[config.average]


@dataclass(frozen=True)
class Table:
    """What the updates of an epoch take, `[S]` in float64: lr's factor, and momentum or None."""

    factor: Tensor
    momentum: Tensor | None


class Pace:
    """The pace of one trial over `total` updates; `maximize`: more of the metric is better."""

    def __init__(self, config: Config, total: int, *, maximize: bool) -> None:
        schedule = SCHEDULES[config.schedule]
        self._schedule = schedule.maximizing() if maximize else schedule
        given = config.schedule_hypers
        self._hypers = {n: _lane(given.get(n, h.default)) for n, h in schedule.hypers.items()}
        self._total = _lane(total)
        self._average = average_of(config)
        if self._average is not None:
            knobs, given = self._average.hypers, config.average_hypers
            self._knobs = {n: _lane(given.get(n, h.default)) for n, h in knobs.items()}
        self._state = {name: _lane(x) for name, x in self._schedule.initial_state.items()}

    @property
    def state(self) -> dict[str, float]:
        """What the schedule carries from evaluation to evaluation."""
        return {name: value.item() for name, value in self._state.items()}

    def begin(self, state: Mapping[str, float]) -> None:
        """Go on from a `state` of the same schedule."""
        self._state = {name: _lane(value) for name, value in state.items()}

    def table(self, first: int, steps: int) -> Table:
        """Return the table of `steps` updates, of which `first` have been before."""
        t = torch.arange(first, first + steps, dtype=torch.float64)

        def scheduled(t: Tensor) -> Tensor:
            return self._schedule.factor(t, self._total, self._hypers, self._state)

        if self._average is None:
            factor = scheduled(t)
        else:
            factor = self._average.lr_factor(t, self._total, self._knobs, scheduled)
            t = self._average.schedule_step(t, self._total, self._knobs)
        momentum = self._schedule.momentum(t, self._total, self._hypers)
        return Table(factor.expand(steps), None if momentum is None else momentum.expand(steps))

    def observe(self, metric: float) -> None:
        """Take in an evaluation."""
        self._state = dict(self._schedule.observe(self._state, _lane(metric), self._hypers))


def momentum_name(rule: Rule) -> str | None:
    """Return which of the rule's knobs a schedule may move as momentum."""
    if rule.averages:  # there it mixes the average
        return None
    return next((name for name in ("beta1", "momentum") if name in rule.hypers), None)


def columns(tables: list[Table | None], steps: int) -> tuple[Tensor, Tensor]:
    """Return factor and momentum of all lanes, `[S, K]`; NaN where momentum is not moved.

    None is a lane without a trial: its factor is 0.
    """
    idle = torch.zeros(steps, dtype=torch.float64)
    still = torch.full((steps,), nan, dtype=torch.float64)
    factors = [idle if table is None else table.factor for table in tables]
    momenta = [still if t is None or t.momentum is None else t.momentum for t in tables]
    return torch.stack(factors, dim=1), torch.stack(momenta, dim=1)


def _lane(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)
