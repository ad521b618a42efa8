"""`Work`: what a param group's last step found out about its weights, for as long as it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import is_, itemgetter
from typing import Any

from torch import Tensor

from optimizers.drop_in.flat import FlatRun, same
from optimizers.drop_in.fused import kernel_takes
from optimizers.drop_in.pieces import Piece, pieces_of
from optimizers.rule import Rule

States = Sequence[dict[str, Any]]


@dataclass
class Work:
    """Whether a fused kernel may take the weights, and how the rule's own update groups them.

    Users replace parameters in their groups, their `.data`, their state: each is looked at anew at
    every step, since a kernel reads and writes memory without a question.
    """

    _seen: list[Any] = field(default_factory=list)
    _fits: bool = False
    flat: FlatRun | None = None
    _pieces: dict[tuple[int, Rule], tuple[Sequence[Tensor], States, list[Piece]]] = field(
        default_factory=dict
    )

    def fits(self, rule: Rule, params: list[Tensor], states: States) -> bool:
        """May a fused kernel take these weights, whose gradients are contiguous?"""
        columns = [list(map(itemgetter(buffer), states)) for buffer in rule.buffers]
        seen = [list(map(Tensor.numel, params)), list(params), *columns]
        if not same(seen, self._seen):
            self._fits = kernel_takes(params, columns)
            self._seen = seen
        return self._fits and all(map(Tensor.is_contiguous, params))

    def pieces_of(
        self, place: int, rule: Rule, params: Sequence[Tensor], states: States
    ) -> list[Piece]:
        """The pieces of the weights that are at one step, the `place`-th such set of the group."""
        known = self._pieces.get((place, rule))
        if (
            known is None
            or len(known[0]) != len(params)
            or not all(map(is_, known[0], params))
            or not all(map(is_, known[1], states))
            or not all(piece.intact() for piece in known[2])
        ):
            pieces = pieces_of(rule, params, states)
            known = self._pieces[place, rule] = list(params), list(states), pieces
        return known[2]
