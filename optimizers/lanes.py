"""`LaneOptimizer`: one rule over K trials at once, each lane with its own hyperparameters.

grad [K, P] -> rule.scalars (float64, [K]) -> rule.update ([K, P]) -> flat [K, P], in place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from optimizers.rule import Rule


def cut(flat: Tensor, shapes: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
    """Views [K, *shape] of a buffer [K, P], one a shape, in order.

    Raises:
        ValueError: the shapes do not add up to P.
    """
    sizes = [prod(shape) for shape in shapes]
    if sum(sizes) != flat.shape[1]:
        raise ValueError(f"shapes hold {sum(sizes)} numbers a lane, flat holds {flat.shape[1]}")
    parts = torch.split(flat, sizes, dim=1)
    return tuple(part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True))


class LaneOptimizer:
    """K independent trials of one rule on a flat buffer.

    `flat` [K, P] holds all lanes' weights and is updated in place; `params` are its views
    [K, *shape]. `hypers` maps names to [K] values (a missing name: the rule's default); they are
    held in float64, as are the coefficients until they meet the weights. `steps` [K] counts the
    updates of each lane. Nothing crosses lanes: one with NaN stays alone.

    Raises:
        ValueError: a hyperparameter that the rule has not, an invalid value, or shapes that do not
            add up to P.
    """

    def __init__(
        self,
        rule: Rule,
        flat: Tensor,
        shapes: Sequence[Sequence[int]],
        hypers: Mapping[str, Tensor],
    ) -> None:
        lanes = flat.shape[0]
        self.rule = rule
        self.flat = flat
        self.params = cut(flat, shapes)
        self.hypers = {
            name: torch.full((lanes,), hyper.default, dtype=torch.float64, device=flat.device)
            for name, hyper in rule.hypers.items()
        }
        for values in zip(*(column.tolist() for column in hypers.values()), strict=True):
            rule.check(dict(zip(hypers, values, strict=True)))
        for name, column in hypers.items():
            self.hypers[name].copy_(column)
        self.steps = torch.zeros(lanes, dtype=torch.float64, device=flat.device)
        self.buffers = {buffer: torch.zeros_like(flat) for buffer in rule.buffers}

    @torch.no_grad()
    def step(self, grad: Tensor, lr_factor: Tensor | None = None) -> None:
        """One update of every lane; `grad` [K, P], `lr_factor` [K] multiplies each lane's lr."""
        self.steps += 1
        hypers = self.hypers
        if lr_factor is not None:
            hypers = {**hypers, "lr": hypers["lr"] * lr_factor}
        scalars = self.rule.scalars(hypers, self.steps)
        rows = torch.stack(list(scalars.values())).to(self.flat.dtype).unsqueeze(-1)
        coefficients = dict(zip(scalars, rows.unbind(), strict=True))
        new, self.buffers = self.rule.update(self.flat, grad, self.buffers, coefficients)
        self.flat.copy_(new)

    @torch.no_grad()
    def reset(self, lane: int, hypers: Mapping[str, float]) -> None:
        """Refill a lane: its state as new, its hyperparameters these (missing: the defaults).

        The caller writes the new trial's initial weights into `flat[lane]`.

        Raises:
            ValueError: a hyperparameter that the rule has not, or an invalid value.
        """
        self.rule.check(hypers)
        for name, hyper in self.rule.hypers.items():
            self.hypers[name][lane] = hypers.get(name, hyper.default)
        self.steps[lane] = 0
        for buffer in self.buffers.values():
            buffer[lane] = 0

    def state_dict(self) -> dict[str, Any]:
        """Steps, hyperparameters and buffers of all lanes, as copies; the weights are `flat`'s."""
        return {
            "steps": self.steps.clone(),
            "hypers": {name: values.clone() for name, values in self.hypers.items()},
            "buffers": {name: buffer.clone() for name, buffer in self.buffers.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same rule, lanes and shapes."""
        self.steps.copy_(state["steps"])
        for name, values in self.hypers.items():
            values.copy_(state["hypers"][name])
        for name, buffer in self.buffers.items():
            buffer.copy_(state["buffers"][name])
