"""What a rule updates at once: a weight (`Single`), a flat `Bucket` of small ones, or a `Slice`.

An eager operation on a small tensor costs its launch and not its numbers, so a group's small
weights are gathered into one buffer, updated, and scattered back. Their state lives in flat buffers
for good, and `optimizer.state[p]` holds views of these in the weight's shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_, itemgetter
from typing import Any, Protocol

import torch
from torch import Tensor

from optimizers.rule import Rule

# Numbers that are updated at once: so few that what the eager operations make in between stays in
# or near the cache, and comes from memory that the allocator has at hand; so many that launches
# cost little. A step of RMSprop on 5 million numbers: 11.9 ms with 32,768, 9.1 ms with this,
# 14.1 ms with all at once.
_BLOCK = 131_072
LOW = (torch.bfloat16, torch.float16)
"""The dtypes whose state is held in float32."""


def new_state(rule: Rule, p: Tensor) -> dict[str, Any]:
    """The state of a weight before its first update."""
    state: dict[str, Any] = {"step": 0}
    parts = p.is_complex() and rule.by_weight
    shape = tuple(p.shape) if parts or not p.is_complex() else (*p.shape, 2)
    dtype = torch.float32 if p.dtype in LOW else p.dtype
    for buffer in rule.buffers:
        own = rule.buffer_shape(buffer, shape)
        if buffer in rule.copies:
            state[buffer] = p.detach().to(dtype, copy=True)
        elif own == shape:
            state[buffer] = torch.zeros_like(p, dtype=dtype)
        else:
            real = dtype.to_real()
            state[buffer] = torch.zeros((2, *own) if parts else own, dtype=real, device=p.device)
    if not rule.measures:
        state.update(rule.lane_buffers)
    return state


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Their numbers in one new tensor [n]; torch reshapes them in C++, which saves the most."""
    return torch._C._nn.flatten_dense_tensors(list(tensors))


def cut(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of `flat` [n] in the shapes of `like`."""
    return list(torch._C._nn.unflatten_dense_tensors(flat, list(like)))


class Piece(Protocol):
    """Weights that are updated together."""

    params: tuple[Tensor, ...]

    def load(self, grads: Sequence[Tensor]) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """(parameter, gradient, state) as the rule wants them; `grads` are those of `params`."""

    def store(self, p: Tensor, s: Mapping[str, Tensor]) -> None:
        """Put the update's results where the user sees them."""

    def intact(self) -> bool:
        """Does the state that the user sees still belong to this piece?"""


class Single:
    """One weight by itself.

    Complex numbers count as pairs of real ones; to a rule that needs the weight's shape, its real
    and its imaginary part are two lanes.
    """

    def __init__(self, rule: Rule, p: Tensor, state: dict[str, Any]) -> None:
        self.params: tuple[Tensor, ...] = (p,)
        self._rule, self._state = rule, state
        self._parts = p.is_complex() and rule.by_weight

    def load(self, grads: Sequence[Tensor]) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        (p,), (g,) = self.params, grads
        state = {buffer: self._shown(self._state[buffer]) for buffer in self._rule.buffers}
        return self._shown(p.detach()), self._shown(g), state

    def store(self, p: Tensor, s: Mapping[str, Tensor]) -> None:
        self._put(self.params[0].detach(), p)
        for buffer in self._rule.buffers:
            self._put(self._state[buffer], s[buffer])

    def intact(self) -> bool:
        return True

    def _shown(self, x: Tensor) -> Tensor:
        real = torch.view_as_real(x) if x.is_complex() else x
        if self._parts:
            return real.movedim(-1, 0) if x.is_complex() else x
        if self._rule.by_weight:
            return real.unsqueeze(0)
        return real.reshape(1, -1) if self._rule.measures else real

    def _put(self, target: Tensor, new: Tensor) -> None:
        if target.is_complex():
            new = new.movedim(0, -1) if self._parts else new
            target = torch.view_as_real(target)
        target.copy_(new.reshape(target.shape))


class Bucket:
    """Small real weights of one dtype and device as one flat buffer [n].

    For a rule that needs each weight's shape they have one shape and are [count, *shape]: to the
    rule they are lanes.
    """

    def __init__(self, rule: Rule, params: Sequence[Tensor], states: Sequence[Any]) -> None:
        self.params = tuple(params)
        self._rule, self._states = rule, states
        self._flat: dict[str, Tensor] = {}
        self._views: dict[str, list[Tensor]] = {}
        for buffer in rule.buffers:
            old = [state[buffer] for state in states]
            flat = join(old)
            views = self._views[buffer] = cut(flat, old)
            self._flat[buffer] = self._shown(flat, old[0])
            for state, view in zip(states, views, strict=True):
                state[buffer] = view

    def load(self, grads: Sequence[Tensor]) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        p, g = (self._shown(join(each), self.params[0]) for each in (self.params, grads))
        return p, g, self._flat

    def store(self, p: Tensor, s: Mapping[str, Tensor]) -> None:
        torch._foreach_copy_(self.params, cut(p.reshape(-1), self.params))
        for buffer, flat in self._flat.items():
            flat.copy_(s[buffer])

    def intact(self) -> bool:
        return all(
            all(map(is_, map(itemgetter(buffer), self._states), views))
            for buffer, views in self._views.items()
        )

    def _shown(self, flat: Tensor, one: Tensor) -> Tensor:
        if self._rule.by_weight:
            return flat.view(len(self.params), *one.shape)
        return flat.unsqueeze(0) if self._rule.measures else flat


class Slice:
    """A part of a large contiguous weight, as a flat view [n]."""

    def __init__(self, rule: Rule, p: Tensor, state: dict[str, Any], start: int) -> None:
        self.params: tuple[Tensor, ...] = (p,)
        self._part, self._lead = slice(start, start + _BLOCK), rule.measures
        self._state = state
        self._whole = {buffer: state[buffer] for buffer in rule.buffers}
        self._views = {buffer: self._of(whole) for buffer, whole in self._whole.items()}

    def load(self, grads: Sequence[Tensor]) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        (p,), (g,) = self.params, grads
        return self._of(p.detach()), self._of(g), self._views

    def store(self, p: Tensor, s: Mapping[str, Tensor]) -> None:
        self._of(self.params[0].detach()).copy_(p)
        for buffer, view in self._views.items():
            view.copy_(s[buffer])

    def intact(self) -> bool:
        (p,) = self.params
        return p.is_contiguous() and all(
            self._state[buffer] is whole and whole.numel() == p.numel()
            for buffer, whole in self._whole.items()
        )

    def _of(self, x: Tensor) -> Tensor:
        part = x.reshape(-1)[self._part]
        return part.unsqueeze(0) if self._lead else part


def pieces_of(rule: Rule, params: Sequence[Tensor], states: Sequence[Any]) -> list[Piece]:
    """Small weights in buckets of one dtype and device (and shape, where the rule needs it), large
    ones in slices.

    By themselves: large weights of a rule that needs their shape, complex ones, and those whose
    numbers or state do not lie one after the other.
    """
    found: list[Piece] = []
    buckets: dict[tuple[Any, ...], list[tuple[Tensor, Any]]] = {}
    for p, state in zip(params, states, strict=True):
        if not p.numel():
            continue
        flat = all(x.is_contiguous() for x in (p, *(state[buffer] for buffer in rule.buffers)))
        alone = rule.by_weight and (rule.measures or 2 * p.numel() > _BLOCK)
        if alone or p.is_complex() or not flat:
            found.append(Single(rule, p, state))
            continue
        if p.numel() > _BLOCK:
            found += [Slice(rule, p, state, start) for start in range(0, p.numel(), _BLOCK)]
            continue
        shape = p.shape if rule.by_weight else None
        bucket = buckets.setdefault((p.dtype, p.device, shape), [])
        if sum(other.numel() for other, _ in bucket) + p.numel() > _BLOCK:
            found.append(_bucket(rule, bucket))
            bucket.clear()
        bucket.append((p, state))
    return found + [_bucket(rule, bucket) for bucket in buckets.values()]


def _bucket(rule: Rule, pairs: Sequence[tuple[Tensor, Any]]) -> Piece:
    if len(pairs) == 1:
        return Single(rule, *pairs[0])
    return Bucket(rule, [p for p, _ in pairs], [state for _, state in pairs])
