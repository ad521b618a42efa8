"""A lane's optimizer state as a drop-in's, and back: a trial moves between engines unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optimizers.drop_in.optimizer import LANE_STATE
from optimizers.lanes import LaneOptimizer, cut

if TYPE_CHECKING:
    from optimizers.drop_in import RuleOptimizer
    from optimizers.lane_rows import Rows


@torch.no_grad()
def state_to_drop_in(
    lanes: LaneOptimizer, lane: int, optimizer: RuleOptimizer, params: Sequence[Tensor]
) -> None:
    """Give a fresh drop-in of the lane's rule the lane's state; the weights are the caller's.

    `params` are those of its one group that the lane's weights belong to, in their order.
    """
    rows, row = _find(lanes, lane)
    (group,) = optimizer.param_groups
    steps = int(lanes.steps[lane])
    if not steps:
        return
    numbers = {name: values[row] for name, values in rows.numbers.items()}
    for place, p in enumerate(params):
        state: dict[str, Any] = {"step": steps}
        for buffer, parts in rows.buffers.items():
            state[buffer] = _part(lanes, rows, parts, place)[row].clone()
        if not rows.rule.measures:
            state |= {name: _number(value) for name, value in numbers.items()}
        optimizer.state[p] = state
    if rows.rule.measures:
        own = {name: value.unsqueeze(0).cpu() for name, value in numbers.items()}
        group[LANE_STATE] = {**own, "steps": torch.tensor([steps], dtype=torch.float64)}


@torch.no_grad()
def state_from_drop_in(
    lanes: LaneOptimizer, lane: int, optimizer: RuleOptimizer, params: Sequence[Tensor]
) -> None:
    """Give a fresh lane the state of a drop-in of its rule."""
    rows, row = _find(lanes, lane)
    (group,) = optimizer.param_groups
    states = [optimizer.state[p] for p in params if p in optimizer.state]
    if not states:
        return
    lanes.steps[lane] = states[0]["step"]
    for buffer, parts in rows.buffers.items():
        for place, state in enumerate(states):
            _part(lanes, rows, parts, place)[row].copy_(state[buffer])
    found = group[LANE_STATE] if rows.rule.measures else states[0]
    for name, values in rows.numbers.items():
        values[row] = torch.as_tensor(found[name], dtype=values.dtype).reshape(values[row].shape)


def _find(lanes: LaneOptimizer, lane: int) -> tuple[Rows, int]:
    rows = next(rows for rows in lanes.rows if lane in rows.own)
    return rows, rows.lanes.index(lane)


def _part(lanes: LaneOptimizer, rows: Rows, parts: list[Tensor], place: int) -> Tensor:
    """One weight's buffer, [k, *shape]."""
    return parts[place] if rows.rule.by_weight else cut(parts[0], lanes.shapes)[place]


def _number(value: Tensor) -> float | tuple[float, ...]:
    return value.item() if value.dim() == 0 else tuple(value.tolist())
