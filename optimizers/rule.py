"""The contract of an algorithm: its numbers (`Hyper`) and its pure update (`Rule`).

A rule is written once and driven twice: by `optimizers.lanes` over K lanes, where every number is a
tensor [K], and by `optimizers.drop_in` with K = 1, where every number is a Python float. So a rule
uses on numbers only what floats and tensors share: arithmetic, powers and comparisons.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Number = TypeVar("Number", float, "Tensor")
"""A coefficient: a float (drop-in) or a tensor with a leading lane axis (lanes)."""


def multiply_add(x: Tensor, y: Tensor, c: Number) -> Tensor:
    """x + c * y in one pass over memory, which for floats and tensors are two calls in torch."""
    return x.add(y, alpha=c) if isinstance(c, float) else x.addcmul(y, c)


@dataclass(frozen=True)
class Hyper:
    """One numeric knob: its default, the range searched by default, and the range that is valid.

    `low` and `high` are in the knob's own units. `scale` says how the range is sampled: `linear`,
    `log`, or `one_minus_log` (log-uniform in one minus the value, for betas and momentum). A knob
    with `searched=False` keeps its default unless the user asks. Valid values are
    `at_least <= value < below`.
    """

    default: float
    low: float
    high: float
    scale: str = "linear"
    searched: bool = True
    integer: bool = False
    at_least: float = 0.0
    below: float = math.inf

    def check(self, name: str, value: float) -> None:
        """Refuse an invalid value.

        Raises:
            ValueError: names the argument, its value and the valid range.
        """
        if not self.at_least <= value < self.below:
            opening = "(" if self.at_least == -math.inf else "["
            valid = f"{opening}{self.at_least:g}, {self.below:g})"
            raise ValueError(f"{name} = {value!r} is invalid; it must lie in {valid}")
        if self.integer and value != int(value):
            raise ValueError(f"{name} = {value!r} is invalid; it must be a whole number")


def check_hypers(
    owner: str,
    hypers: Mapping[str, Hyper],
    values: Mapping[str, float],
    argument: Callable[[str], str] = str,
) -> None:
    """Refuse values that `owner` has no knob for, or that its knobs do not allow.

    Raises:
        ValueError: names the argument (as `argument` calls it), its value and what is valid.
    """
    for name, value in values.items():
        if name not in hypers:
            known = ", ".join(hypers)
            raise ValueError(f"{owner} has no hyperparameter '{name}'. Known: {known}")
        hypers[name].check(argument(name), value)


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """An optimization algorithm as two pure functions, `scalars` and `update`.

    A subclass is a frozen dataclass whose extra fields are its static switches (named in `switches`
    with their allowed values, the default first): two equal rules may share one update. `buffers`
    names the state tensors, which are shaped like the parameter and start at zero.

    `decay` is a static switch of every rule: `l2` adds `weight_decay * p` to the gradient,
    `decoupled` multiplies the weights by `1 - lr * weight_decay` beside the step.
    """

    name: str
    paper: str = field(compare=False)
    hypers: Mapping[str, Hyper] = field(compare=False)
    decay: str = "l2"

    buffers: ClassVar[tuple[str, ...]]
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    @abstractmethod
    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        """The coefficients of one update, hoisted out of the elementwise body.

        `h`: hyperparameters (lanes: [K] float64). `t`: the update's number, 1 at the first.
        """

    @abstractmethod
    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: Mapping[str, Tensor],
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(parameter, gradient, state, coefficients) -> (new parameter, new state).

        Lanes: `p`, `g` and each `s` are [K, P], each `c` is [K, 1]. Drop-in: tensors of one shape
        and floats. The inputs are left as they are.
        """

    def decay_scalars(self, h: Mapping[str, Number]) -> dict[str, Number]:
        """The coefficients that `decayed` reads; a rule adds them to its own."""
        if self.decay == "decoupled":
            return {"keep": 1 - h["lr"] * h["weight_decay"]}
        return {"weight_decay": h["weight_decay"]}

    def decayed(self, p: Tensor, g: Tensor, c: Mapping[str, Number]) -> tuple[Tensor, Tensor]:
        """Weight decay before the step: the (parameter, gradient) that the rule goes on with."""
        if self.decay == "decoupled":
            return p * c["keep"], g
        return p, multiply_add(g, p, c["weight_decay"])

    def switched(self, switches: Mapping[str, object]) -> Self:
        """This rule with other static switches.

        Raises:
            ValueError: a switch that the rule has not, or a value that it does not allow.
        """
        for switch, value in switches.items():
            allowed = self.switches.get(switch)
            if allowed is None:
                known = ", ".join(self.switches) or "none"
                raise ValueError(f"{self.name} has no switch '{switch}'. Known: {known}")
            if value not in allowed:
                choices = ", ".join(map(str, allowed))
                raise ValueError(f"{switch} = {value!r} is invalid; it must be one of {choices}")
        values: dict[str, Any] = dict(switches)
        return replace(self, **values)

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        """Refuse invalid hyperparameters of one trial; `argument` names them as the caller does.

        Raises:
            ValueError: names the argument, its value and the valid range.
        """
        check_hypers(self.name, self.hypers, values, argument)
