"""Two optimizers trained alike, for the tests that hold ours to a reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Update = Callable[[Any, Any, dict[str, Any], int], Any]

SHAPES = [(), (3,), (2, 3), (2, 1, 2), (2, 2, 1, 2)]
STEPS = 200


def parameters(
    dtype: torch.dtype = torch.float64, shapes: list[tuple[int, ...]] = SHAPES
) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    return [torch.nn.Parameter(tensor) for tensor in tensors]


def train(optimizer: Optimizer, shrink: float = 1.0) -> list[Tensor]:
    """Noisy steps on a quadratic; `shrink` multiplies the weights before each update."""
    params = optimizer.param_groups[0]["params"]
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        for p in params:
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.grad = 0.3 * p.detach() + noise
        with torch.no_grad():
            torch._foreach_mul_(params, shrink)
        optimizer.step()
    return [p.detach() for p in params]


def assert_parity(
    ours: Optimizer, theirs: Optimizer, shrink: float = 1.0, rtol: float = 1e-12
) -> None:
    """After `train`, the weights of both are equal to `rtol`; `theirs` alone are shrunk."""
    for p, q in zip(train(ours), train(theirs, shrink), strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=0.01 * rtol)


def options(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]


def ident(chosen: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}".replace(" ", "") for key, value in chosen.items())


class Transcribed(Optimizer):
    """An algorithm as its paper has it: `update` maps (p, g, state, t from 1) to the new weights.

    All in numpy, one weight at a time; `state` is a dict that stays.
    """

    def __init__(self, params: list[torch.nn.Parameter], update: Update) -> None:
        super().__init__(params, {})
        self.update = update

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            state["t"] = state.get("t", 0) + 1
            new = self.update(p.numpy().copy(), p.grad.numpy(), state, state["t"])
            p.copy_(torch.as_tensor(new))
