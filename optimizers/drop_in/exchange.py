"""A `state_dict` of torch's own class read as ours, and ours as torch's."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optimizers.drop_in.arguments import DECOUPLED
from optimizers.drop_in.pieces import LOW, new_state
from optimizers.rule import Rule


def adopt_group(group: dict[str, Any]) -> None:
    """A group that names decoupled decay as torch does; its `decay`, if it has one, wins."""
    decoupled = group.pop(DECOUPLED, None)
    if decoupled is not None:
        group.setdefault("decay", "decoupled" if decoupled else "l2")


def adopt_state(rule: Rule, p: Tensor, states: Any) -> None:
    """Torch's state as ours: numbers for its one-element tensors, zeros for what it has not.

    A state of no steps is dropped, since the first step makes it anew. torch's SGD counts none:
    where it has a momentum buffer the first step is behind it.
    """
    state = states[p]
    known = [buffer for buffer in rule.buffers if state.get(buffer) is not None]
    if not state.get("step", known):
        del states[p]
        return
    fresh = new_state(rule, p)
    for name, value in fresh.items():
        if state.get(name) is None:
            state[name] = 1 if name == "step" else value
        elif not isinstance(value, Tensor):
            state[name] = type(value)(state[name])


def name_decoupled_decay(rule: Rule, saved: dict[str, Any]) -> None:
    """Say in a `state_dict` whether the decay is decoupled as torch's class of this name does."""
    if rule.names_decoupled:
        for group in saved["param_groups"]:
            group[DECOUPLED] = group["decay"] == "decoupled"


def restore_precision(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take the float32 state of low-precision weights from what was loaded: torch has rounded it.

    `Optimizer.load_state_dict` casts floating state to the dtype of its weight.
    """
    own = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    names = chain.from_iterable(group["params"] for group in saved["param_groups"])
    for p, name in zip(own, names, strict=True):
        if p.dtype in LOW and p in optimizer.state:
            state = optimizer.state[p]
            for key, value in saved["state"][name].items():
                if isinstance(value, Tensor) and isinstance(state[key], Tensor):
                    state[key] = value.to(p.device, torch.float32, copy=True)
