"""Optimization algorithms, each written once: drop-in `torch.optim` classes and K lanes at a time.

    from optimizers import AdamW                 # torch's name, torch's arguments
    from optimizers import RULES, SCHEDULES      # the registries, with defaults and search spaces
    from optimizers.lr_scheduler import CosineAnnealingLR

Every rule of `RULES` has its drop-in class here, under the rule's `class_name`.

`ALGORITHMS`, `AVERAGES`, `RULES`, `SCHEDULES`, `Average`, `Hyper`, `Rule`, `Schedule` and
`search_space` come without torch, whose import takes more than a second; the other names bring it
in on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from optimizers.averaging import AVERAGES, Average
from optimizers.handover import ALGORITHMS, Algorithm
from optimizers.hyper import Hyper
from optimizers.rule import Rule
from optimizers.rules import RULES
from optimizers.schedules import SCHEDULES
from optimizers.schedules.schedule import Schedule
from optimizers.spaces import search_space

if TYPE_CHECKING:
    from optimizers.drop_in import build_optimizer
    from optimizers.lanes import LaneOptimizer
    from optimizers.lr_scheduler import ScheduleLR, build_scheduler
    from optimizers.weight_average import WeightAverage

__all__ = [
    "ALGORITHMS",
    "AVERAGES",
    "RULES",
    "SCHEDULES",
    "Algorithm",
    "Average",
    "Hyper",
    "LaneOptimizer",
    "Rule",
    "Schedule",
    "ScheduleLR",
    "WeightAverage",
    "build_optimizer",
    "build_scheduler",
    "search_space",
]

_NEEDS_TORCH = {
    "LaneOptimizer": "lanes",
    "ScheduleLR": "lr_scheduler",
    "WeightAverage": "weight_average",
    "build_optimizer": "drop_in",
    "build_scheduler": "lr_scheduler",
}
_CLASSES = {rule.class_name: name for name, rule in RULES.items()}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(f"optimizers.{_NEEDS_TORCH[name]}"), name)
    if name in _CLASSES:
        return import_module("optimizers.drop_in").DROP_INS[_CLASSES[name]]
    raise AttributeError(f"module 'optimizers' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *_CLASSES])
