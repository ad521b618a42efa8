"""Weights that lie one after the other in memory: one call of a fused kernel updates them all.

A kernel that takes a list of 400 weights of 2,000 spends a third of its time between them, and the
questions whether it may take them cost as much again. One buffer needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor

from optimizers.drop_in.fused import Kernel, fused_kernel, kernel_takes
from optimizers.drop_in.pieces import cut, join
from optimizers.rule import Rule

States = Sequence[dict[str, Any]]

# Numbers of a weight, in the mean, up to which gathering the gradients costs less than one buffer
# saves: with 2,000 a step takes 0.77 of the time, with 125,000 1.22 (benchmarks/optimizers.py).
_SMALL = 16_384


class FlatRun:
    """A param group's weights as one flat buffer [n], and their state as others.

    The weights and their state stay what users see, as views. It holds while these are the same
    objects in the same places and every weight has a gradient.
    """

    def __init__(
        self, rule: Rule, kernel: Kernel, params: Sequence[Tensor], states: States
    ) -> None:
        self.rule, self._kernel = rule, kernel
        self._params, self._states = list(params), list(states)
        self._places = list(map(Tensor.data_ptr, params))
        count = sum(map(Tensor.numel, params))
        self._flat = params[0].detach().as_strided((count,), (1,))
        self._state: dict[str, Tensor] = {}
        for buffer in rule.buffers:
            old = list(map(itemgetter(buffer), states))
            flat = self._state[buffer] = join(old)
            for state, view in zip(states, cut(flat, old), strict=True):
                state[buffer] = view
        self._home: list[Any] = []
        self._even = False
        self._columns = [list(map(itemgetter(buffer), states)) for buffer in rule.buffers]
        # torch.cat reads weights of one width as they are; others must be flattened one by one
        alike = all(p.dim() > 0 and p.shape[1:] == params[0].shape[1:] for p in params)
        self._gather: Callable[[list[Any]], Tensor] = torch.cat if alike else join

    def holds(self, rule: Rule, params: list[Tensor], home: Mapping[Any, Any]) -> bool:
        """Are these the weights, and `home` the states, that lie in the buffers?"""
        columns = [list(map(itemgetter(buffer), self._states)) for buffer in rule.buffers]
        found = (
            rule is self.rule
            and same(params, self._params)
            and self._at_home(home)
            and same(columns, self._columns)
            and list(map(Tensor.data_ptr, params)) == self._places
        )
        self._even = self._even and found
        return found

    def _at_home(self, home: Mapping[Any, Any]) -> bool:
        """Are the states still the optimizer's, and the weights at one step?

        Looked up one by one only when something about the optimizer's states has changed: another
        step than by `step`, a state more, a state replaced.
        """
        now = [home, *home.values()]
        if len(now) == len(self._home) and all(map(is_, now, self._home)) and self._even:
            return True
        found = list(map(home.get, self._params))
        steps = {state["step"] for state in self._states}
        self._even = all(map(is_, found, self._states)) and len(steps) == 1
        self._home = now
        return self._even

    def gradient(self) -> Tensor | None:
        """All gradients in one tensor [n], None where one is missing, sparse or of another kind."""
        self._even = False  # until `step`
        grads: list[Any] = [p.grad for p in self._params]
        try:
            gathered = self._gather(grads)
        except (TypeError, RuntimeError):
            return None
        fits = gathered.layout is torch.strided and gathered.dtype is self._flat.dtype
        flat = gathered.reshape(-1) if fits else None
        return flat if flat is not None and flat.shape == self._flat.shape else None

    def step(self, g: Tensor, h: Mapping[str, float], maximize: bool) -> None:
        """One update of all weights."""
        t = self._states[0]["step"] + 1
        self._kernel(self.rule, [self._flat], [g], [self._state], h, t, maximize)
        for state in self._states:
            state["step"] = t
        self._even = True


def flatten(params: Sequence[Tensor]) -> None:
    """Move the data of these weights into one buffer, in this order."""
    flat = join([p.detach() for p in params])
    for p, view in zip(params, cut(flat, params), strict=True):
        p.data = view


def can_flatten(rule: Rule, params: Sequence[Tensor], states: States) -> bool:
    """Would one kernel take these weights, are they small, and share their memory with nothing?"""
    columns = [list(map(itemgetter(buffer), states)) for buffer in rule.buffers]
    own = {p.untyped_storage().data_ptr() for p in params}
    return (
        fused_kernel(rule) is not None
        and len(params) > 1
        and sum(map(Tensor.numel, params)) <= _SMALL * len(params)
        and len(own) == len(params)
        and all(p.numel() == p.untyped_storage().nbytes() // p.element_size() > 0 for p in params)
        and all(p.is_contiguous() for p in params)
        and kernel_takes(params, columns)
    )


def same(found: Any, before: Any) -> bool:
    """Are these the very same objects? A list compares these first, and then tensors by value."""
    try:
        return bool(found == before)
    except RuntimeError:  # two tensors of several numbers: others than before
        return False
