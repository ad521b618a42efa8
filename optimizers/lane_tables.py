"""The coefficients of many updates, worked out at once, and an update that reads one row of them.

A schedule changes its mind at evaluations only, so what the updates of an epoch multiply by is
known when it begins: a table [S, C, K] for S updates of K lanes takes the place of C small
computations a step. `update_lanes` is then nothing but tensor operations on [K, P], to be traced
into one program with the forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optimizers.compiled import can_compile, update_in_place
from optimizers.lane_rows import Rows
from optimizers.lanes import LaneOptimizer
from optimizers.rule import Rule


@dataclass(frozen=True)
class Formula:
    """What an update of one rule's rows is made of, beside tensors."""

    rule: Rule
    names: tuple[str, ...]  # of its coefficients, in the table's order


class Tables:
    """What the next S updates of all lanes multiply by: of each rule `values` [S, C, K].

    `factors` [S, K] multiply each lane's lr; `moved` gives the hyperparameters that a schedule
    moves, [S, K]. Nothing of `lanes` changes before `count`.
    """

    def __init__(self, lanes: LaneOptimizer, factors: Tensor, moved: Mapping[str, Tensor]) -> None:
        self._lanes, self._moved = lanes, moved
        updates = torch.arange(1, len(factors) + 1, dtype=torch.float64, device=factors.device)
        self._steps = lanes.steps + updates.unsqueeze(-1)
        h = {name: column.expand_as(factors) for name, column in lanes.hypers.items()} | {**moved}
        h |= {"lr": h["lr"] * factors, "lr_factor": factors}
        found = [_coefficients(rows, h, self._steps) for rows in lanes.rows]
        self._numbers = [numbers for _, numbers in found]
        dtype = lanes.flat.dtype
        self.values = [torch.stack(list(c.values()), dim=1).to(dtype) for c, _ in found]
        self.buffers = [{name: x for name, (x,) in r.buffers.items()} for r in lanes.rows]
        self.masks = _masks(lanes)
        self.formulas = tuple(
            Formula(rows.rule, tuple(c)) for rows, (c, _) in zip(lanes.rows, found, strict=True)
        )

    def count(self) -> None:
        """Count the S updates; the weights and buffers are the caller's, by `update_lanes`."""
        lanes = self._lanes
        lanes.steps = self._steps[-1].clone()
        lanes.hypers |= {name: column[-1].clone() for name, column in self._moved.items()}
        for rows, numbers in zip(lanes.rows, self._numbers, strict=True):
            rows.numbers = numbers


def _masks(lanes: LaneOptimizer) -> list[Tensor]:
    """Which rows are whose, bool [K, 1]; none where there is one rule."""
    if len(lanes.rows) == 1:
        return []
    every = torch.ones(len(lanes.steps), dtype=torch.bool, device=lanes.steps.device)
    own = [rows.among(None) for rows in lanes.rows]
    return [(every if mask is None else mask).unsqueeze(-1) for mask in own]


def can_tabulate(lanes: LaneOptimizer) -> bool:
    """Are all rules elementwise, with rows of all lanes (`LaneOptimizer(whole=True)`)?"""
    return all(rows.fixed and can_compile(rows.rule) for rows in lanes.rows)


def update_lanes(
    formulas: Sequence[Formula],
    flat: Tensor,
    grad: Tensor,
    buffers: Sequence[Mapping[str, Tensor]],
    values: Sequence[Tensor],
    masks: Sequence[Tensor],
) -> None:
    """One update of `flat` [K, P] and the buffers in place.

    `values` has of each formula's table one step, [C, K]; `masks` which rows are its own, bool
    [K, 1], and is empty where all are of one formula.
    """
    for place, (formula, own, row) in enumerate(zip(formulas, buffers, values, strict=True)):
        c = dict(zip(formula.names, row.unsqueeze(-1).unbind(), strict=True))
        update_in_place(formula.rule, flat, grad, own, c, masks[place] if masks else None)


def _coefficients(
    rows: Rows, h: Mapping[str, Tensor], steps: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Each coefficient as [S, K], and the rule's own numbers after the S updates."""
    if not rows.numbers:
        return _as_tables(rows.rule.scalars(h, steps), steps), {}
    found = []
    numbers = dict(rows.numbers)
    for place, t in enumerate(steps):
        now = {name: column[place] for name, column in h.items()}
        found.append(_as_tables(rows.rule.scalars(now | numbers, t), t))
        numbers = {name: found[-1][name] for name in numbers}
    return {name: torch.stack([c[name] for c in found]) for name in found[0]}, numbers


def _as_tables(c: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value).to(like).expand_as(like) for name, value in c.items()}
