"""Running a scheduler of ours beside torch's of the same name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import lr_scheduler as theirs

from optimizers import lr_scheduler as ours

BASES = [0.1, 0.02]
STEPS = 1000
Build = Callable[[Any, Optimizer], Any]
"""Makes a scheduler with the classes of a library, ours or torch's."""


def optimizer(kind: type[Optimizer] = torch.optim.SGD, **arguments: Any) -> Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in BASES]
    return kind(groups, **arguments)


def moved(group: dict[str, Any]) -> tuple[float, float]:
    """The lr of a group, and its momentum or beta1."""
    return float(group["lr"]), float(group["betas"][0] if "betas" in group else group["momentum"])


def walk(scheduler: Any, steps: int) -> list[float]:
    """What each group has at each update, in one list."""
    found: list[float] = []
    for _ in range(steps):
        groups = scheduler.optimizer.param_groups
        now = [moved(group) for group in groups]
        assert [lr for lr, _ in now] == scheduler.get_last_lr()
        found += [number for pair in now for number in pair]
        scheduler.optimizer.step()
        scheduler.step()
    return found


def pickled(scheduler: Any) -> Any:
    """The scheduler with its optimizer, after a restart that pickles both."""
    _, again = pickle.loads(pickle.dumps((scheduler.optimizer, scheduler)))
    return again


def reloaded(saved: Any, fresh: Any) -> Any:
    """`fresh` with the state of `saved` and of its optimizer, after a restart."""
    states = saved.state_dict(), saved.optimizer.state_dict()
    own, of_optimizer = pickle.loads(pickle.dumps(states))
    fresh.load_state_dict(own)
    fresh.optimizer.load_state_dict(of_optimizer)
    return fresh


__all__ = [
    "BASES",
    "STEPS",
    "Build",
    "moved",
    "optimizer",
    "ours",
    "pickled",
    "reloaded",
    "theirs",
    "walk",
]
