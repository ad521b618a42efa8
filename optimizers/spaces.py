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

    It is that of the same algorithm with this decay, where there is one (Adam's for AdamW with l2);
    else Adam's for l2, and AdamW's for decoupled decay, lowered where lr goes higher than AdamW's,
    so that the product does not. Independent decay does not shrink with lr, so its range and
    default are those of the decoupled one times the default lr (1e-3 where lr is a factor on a rate
    that the algorithm finds).
    """
    if decay in (None, algorithm.decay) or not isinstance(algorithm, Rule):
        return algorithm.hypers
    wanted = "decoupled" if decay == "independent" else str(decay)
    own = algorithm.hypers["weight_decay"]
    if algorithm.decay != wanted:
        twins = [r for r in RULES.values() if type(r) is type(algorithm) and r.decay == wanted]
        other = twins[0].hypers["weight_decay"] if twins else _usual(algorithm, wanted)
        own = replace(other, default=own.default)
    if decay == "independent":
        rate = 1e-3 if algorithm.measures else algorithm.hypers["lr"].default
        own = replace(own, default=own.default * rate, low=own.low * rate, high=own.high * rate)
    return {**algorithm.hypers, "weight_decay": own}


def _usual(rule: Rule, decay: str) -> Hyper:
    if decay == "l2":
        return RULES["adam"].hypers["weight_decay"]
    adamw = RULES["adamw"].hypers
    share = min(1.0, adamw["lr"].high / rule.hypers["lr"].high)
    own = adamw["weight_decay"]
    return replace(own, low=own.low * share, high=own.high * share)


def search_space(name: str) -> Mapping[str, Hyper]:
    """The Hypers of the algorithm, schedule or average `name` that a sweep searches by default.

    Raises:
        ValueError: none of them has this name.
    """
    owners: dict[str, Rule | Schedule | Average] = {**RULES, **SCHEDULES, **AVERAGES}
    hypers = lookup(owners, "optimizer, schedule or average", name).hypers
    return {knob: hyper for knob, hyper in hypers.items() if hyper.searched}
