"""`Hyper`: one numeric knob of an algorithm or a schedule, and the check of its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


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


def check_choice(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse a switch's value that is none of those allowed; 1 is not True.

    Raises:
        ValueError: names the switch, its value and what is allowed.
    """
    if not any(type(value) is type(each) and value == each for each in allowed):
        choices = ", ".join(map(str, allowed))
        raise ValueError(f"{name} = {value!r} is invalid; it must be one of {choices}")


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
