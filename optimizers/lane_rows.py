"""`Rows`: the lanes of one rule, their state, and one update of them. `optimizers.lanes` owns them.

A rule's state over k lanes: `buffers` of shape [k, P], or, for a rule that is `by_weight`, one
tensor [k, *shape] a weight; `lane_buffers` [k] or [k, window] in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optimizers.advance import Piece, advance
from optimizers.rule import Rule

Cut = Callable[[Tensor], tuple[Tensor, ...]]


class Rows:
    """The rows `lanes` of a buffer [K, P], of which `own` (default: all) are updated by `rule`."""

    def __init__(
        self,
        rule: Rule,
        lanes: Sequence[int],
        like: Tensor,
        shapes: Any,
        own: Sequence[int] | None = None,
    ) -> None:
        self.rule = rule
        self.lanes = list(lanes)
        self.fixed = own is not None  # the rows stay when lanes change their rule
        self.own = set(self.lanes if own is None else own)
        self._like, self._size = like.new_empty(0), like.shape[1]
        self._shapes = [tuple(shape) for shape in shapes]
        k = len(self.lanes)
        whole = self._shapes if rule.by_weight else [(self._size,)]
        self.buffers = {
            buffer: [self._like.new_zeros(k, *rule.buffer_shape(buffer, shape)) for shape in whole]
            for buffer in rule.buffers
        }
        self.numbers = {name: self._first(value, k) for name, value in rule.lane_buffers.items()}
        self._places: tuple[list[int], Tensor] | None = None
        self._mask: tuple[set[int], Tensor] | None = None

    @property
    def index(self) -> Tensor:
        """The lanes as a tensor, made again only when they have changed."""
        if self._places is None or self._places[0] != self.lanes:
            made = torch.tensor(self.lanes, dtype=torch.long, device=self._like.device)
            self._places = list(self.lanes), made
        return self._places[1]

    def among(self, active: Tensor | None) -> Tensor | None:
        """Which rows are to be updated, bool [k], of those that are `active`; None: all."""
        if len(self.own) == len(self.lanes):
            return active
        if self._mask is None or self._mask[0] != self.own:
            flags = [lane in self.own for lane in self.lanes]
            self._mask = set(self.own), torch.tensor(flags, device=self._like.device)
        return self._mask[1] if active is None else self._mask[1] & active

    def step(
        self,
        p: Tensor,
        g: Tensor,
        h: Mapping[str, Tensor],
        t: Tensor,
        cut: Cut,
        active: Tensor | None,
        compiled: bool,
    ) -> Tensor:
        """Return the new rows [k, P]; `h` and `t` are [k]. Rows not in `active` [k] stay.

        A `compiled` step writes into `p` and returns it.
        """
        if compiled and self._step_compiled(p, g, h, t, active):
            return p
        pieces = self._pieces(p, g, cut)
        iterator, numbers = advance(self.rule, pieces, {**h, **self.numbers}, t, _rows)
        stepped = list(iterator)
        if active is not None:
            stepped = [
                (_kept(active, new, old), {b: _kept(active, s[b], was[b]) for b in s})
                for (new, s), (old, _, was) in zip(stepped, pieces, strict=True)
            ]
            numbers = {n: _kept(active, new, self.numbers[n]) for n, new in numbers.items()}
        self.numbers = numbers
        for buffer, parts in self.buffers.items():
            parts[:] = [s[buffer] for _, s in stepped]
        return _joined([new for new, _ in stepped])

    def _step_compiled(
        self, p: Tensor, g: Tensor, h: Mapping[str, Tensor], t: Tensor, active: Tensor | None
    ) -> bool:
        from optimizers.compiled import can_compile, step_compiled

        if not can_compile(self.rule):
            return False
        c = self.rule.scalars({**h, **self.numbers}, t)
        buffers = {buffer: part for buffer, (part,) in self.buffers.items()}
        if not step_compiled(self.rule, p, g, buffers, _rows(c, p), active):
            return False
        new = {name: c[name] for name in self.numbers}
        if active is not None:
            new = {name: _kept(active, new[name], old) for name, old in self.numbers.items()}
        self.numbers = new
        return True

    def averaged(self, p: Tensor, h: Mapping[str, Tensor], cut: Cut) -> Tensor:
        """The weights to evaluate, [k, P]."""
        parts = [
            self.rule.averaged(part, s, _rows({**h, **self.numbers}, part))
            for part, _, s in self._pieces(p, p, cut)
        ]
        return _joined(parts)

    def take(self, rows: Sequence[int], *, fixed: bool = True) -> Rows:
        """These rows (places in `lanes`) with their state, as copies, in this order.

        They stay `fixed` if they are, unless told otherwise.
        """
        lanes = [self.lanes[row] for row in rows]
        own = [lane for lane in lanes if lane in self.own] if self.fixed and fixed else None
        taken = Rows(self.rule, lanes, self._like.new_empty(1, self._size), self._shapes, own)
        index = torch.tensor(rows, dtype=torch.long, device=self._like.device)
        for buffer, parts in self.buffers.items():
            taken.buffers[buffer] = [part.index_select(0, index) for part in parts]
        for name, values in self.numbers.items():
            taken.numbers[name] = values.index_select(0, index)
        return taken

    def forget(self, lane: int) -> None:
        """Make the state of a lane as new."""
        row = self.lanes.index(lane)
        fresh = Rows(self.rule, [lane], self._like.new_empty(1, self._size), self._shapes)
        for buffer, parts in self.buffers.items():
            for part, new in zip(parts, fresh.buffers[buffer], strict=True):
                part[row] = new[0]
        for name, values in fresh.numbers.items():
            self.numbers[name] = self.numbers[name].index_copy(
                0, torch.tensor([row], device=values.device), values
            )

    def with_fresh(self, lane: int) -> Rows:
        """These rows and one more lane at its place in the order, its state as new."""
        lanes = sorted([*self.lanes, lane])
        both = Rows(self.rule, lanes, self._like.new_empty(1, self._size), self._shapes)
        index = torch.tensor([lanes.index(own) for own in self.lanes], device=self._like.device)
        for buffer, parts in both.buffers.items():
            for part, old in zip(parts, self.buffers[buffer], strict=True):
                part.index_copy_(0, index, old)
        for name, values in both.numbers.items():
            values.index_copy_(0, index, self.numbers[name])
        return both

    def state_dict(self) -> dict[str, Any]:
        """The state of all rows, as copies."""
        return {
            "rule": said(self.rule),
            "lanes": list(self.lanes),
            "buffers": {b: [part.clone() for part in parts] for b, parts in self.buffers.items()},
            "numbers": {name: values.clone() for name, values in self.numbers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same rule and lanes."""
        for buffer, parts in self.buffers.items():
            for part, saved in zip(parts, state["buffers"][buffer], strict=True):
                part.copy_(saved)
        for name, values in self.numbers.items():
            values.copy_(state["numbers"][name])

    def _pieces(self, p: Tensor, g: Tensor, cut: Cut) -> list[Piece]:
        columns = [dict(zip(self.buffers, row, strict=True)) for row in self._by_piece()]
        if not self.rule.by_weight:
            return [(p, g, columns[0])]
        return list(zip(cut(p), cut(g), columns, strict=True))

    def _by_piece(self) -> list[tuple[Tensor, ...]]:
        if not self.buffers:
            return [()] * (len(self._shapes) if self.rule.by_weight else 1)
        return list(zip(*self.buffers.values(), strict=True))

    def _first(self, value: float | tuple[float, ...], k: int) -> Tensor:
        row = torch.tensor(value, dtype=torch.float64, device=self._like.device)
        return row.expand(k, *row.shape).clone()


def _joined(parts: list[Tensor]) -> Tensor:
    """[k, *shape] each -> [k, P]."""
    rows = [part.reshape(part.shape[0], -1) for part in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def said(rule: Rule) -> str:
    """A rule in words that a state of another one has not: name and switches."""
    switches = ", ".join(f"{switch}={getattr(rule, switch)}" for switch in rule.options)
    return f"{rule.name} ({switches})"


def _rows(c: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
    """[k] coefficients in the weights' dtype as [k, 1, ...], to multiply `p`; windows stay out."""
    shape = (-1, *[1] * (p.dim() - 1))
    numbers = {
        name: torch.as_tensor(value, dtype=torch.float64, device=p.device).expand(p.shape[0])
        for name, value in c.items()
        if not (isinstance(value, Tensor) and value.dim() > 1)
    }
    if not numbers:
        return {}
    rows = torch.stack(list(numbers.values())).to(p.dtype).reshape(len(numbers), *shape)
    return dict(zip(numbers, rows.unbind(), strict=True))


def _kept(active: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return new.where(active.reshape(-1, *[1] * (new.dim() - 1)), old)
