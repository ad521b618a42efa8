"""The default search space of each algorithm, schedule and average, read off its Hypers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optimizers.averaging import AVERAGES, Average
from optimizers.handover import Algorithm
from optimizers.hyper import Hyper
from optimizers.names import lookup
from optimizers.rule import Rule
from optimizers.rules import RULES
from optimizers.schedules import SCHEDULES
from optimizers.schedules.schedule import Schedule


def with_decay(algorithm: Algorithm, decay: str | None) -> Mapping[str, Hyper]:
    """The algorithm's Hypers, weight_decay with the range that this kind of decay needs.

    It is that of the same algorithm with this decay, where there is one (Adam's for AdamW with l2).
    Independent decay does not shrink with lr, so its range and default are those of the decoupled
    one times the default lr.
    """
    if decay in (None, algorithm.decay) or "weight_decay" not in algorithm.hypers:
        return algorithm.hypers
    wanted = "decoupled" if decay == "independent" else decay
    own = algorithm.hypers["weight_decay"]
    for twin in RULES.values():
        if type(twin) is type(algorithm) and twin.decay == wanted:
            own = replace(twin.hypers["weight_decay"], default=own.default)
    if decay == "independent":
        rate = algorithm.hypers["lr"].default
        own = replace(own, default=own.default * rate, low=own.low * rate, high=own.high * rate)
    return {**algorithm.hypers, "weight_decay": own}


def search_space(name: str) -> Mapping[str, Hyper]:
    """The Hypers of the algorithm, schedule or average `name` that a sweep searches by default.

    Raises:
        ValueError: none of them has this name.
    """
    owners: dict[str, Rule | Schedule | Average] = {**RULES, **SCHEDULES, **AVERAGES}
    hypers = lookup(owners, "optimizer, schedule or average", name).hypers
    return {knob: hyper for knob, hyper in hypers.items() if hyper.searched}
