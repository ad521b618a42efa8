"""The default search space of each algorithm and schedule, read off its Hypers."""

from __future__ import annotations

from collections.abc import Mapping

from optimizers.names import lookup
from optimizers.rule import Hyper, Rule
from optimizers.rules import RULES
from optimizers.schedules import SCHEDULES
from optimizers.schedules.schedule import Schedule


def search_space(name: str) -> Mapping[str, Hyper]:
    """The Hypers of the algorithm or schedule `name` that a sweep searches when told nothing else.

    Raises:
        ValueError: no algorithm or schedule has this name.
    """
    owners: dict[str, Rule | Schedule] = {**RULES, **SCHEDULES}
    hypers = lookup(owners, "optimizer or schedule", name).hypers
    return {knob: hyper for knob, hyper in hypers.items() if hyper.searched}
