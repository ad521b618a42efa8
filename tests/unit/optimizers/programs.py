"""Small programs that train a net, for the tests of the drop-ins as torch optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

import optimizers
from optimizers.drop_in import DROP_INS

each_class = pytest.mark.parametrize("cls", DROP_INS.values(), ids=lambda cls: cls.__name__)

# torch's Muon takes matrices only; its parity is tested with Muon's.
IN_TORCH = [
    cls.__name__
    for cls in DROP_INS.values()
    if hasattr(torch.optim, cls.__name__) and cls.__name__ != "Muon"
]
each_in_torch = pytest.mark.parametrize("name", IN_TORCH)


def net(dtype: torch.dtype = torch.float64) -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    return torch.nn.Sequential(*layers).to(dtype)


def loss_of(model: torch.nn.Module) -> torch.Tensor:
    x = torch.linspace(-1, 1, 40, dtype=next(model.parameters()).dtype).reshape(10, 4)
    return (model(x) - x[:, :2].sin()).square().mean()


def train(
    model: torch.nn.Module, optimizer: Optimizer, steps: int, after: Any = None
) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        if after is not None:
            after.step()
        losses.append(loss.item())
    return losses


def both(name: str, run: Callable[[Any], list[float]], rel: float = 1e-12) -> None:
    """The same program with our class and with torch's gives the same numbers."""
    assert run(getattr(optimizers, name)) == pytest.approx(run(getattr(torch.optim, name)), rel=rel)


def weights(*tensors: torch.Tensor) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(tensor.clone()) for tensor in tensors]


def noise(like: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)
