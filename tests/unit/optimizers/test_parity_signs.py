"""Lion and Signum against pytorch_optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_optimizer
import torch
from parity import assert_parity, ident, options, parameters

import optimizers


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    "chosen",
    options(
        lr=(1e-2,),
        betas=((0.9, 0.99), (0.5, 0.98)),
        weight_decay=(0.0, 0.1),
        maximize=(False, True),
    ),
    ids=ident,
)
@pytest.mark.parametrize("decay", ["l2", "decoupled", "independent"])
def test_lion(decay: str, chosen: dict[str, Any], dtype: torch.dtype) -> None:
    theirs = pytorch_optimizer.Lion(
        parameters(dtype),
        weight_decouple=decay != "l2",
        fixed_decay=decay == "independent",
        **chosen,
    )
    assert_parity(optimizers.Lion(parameters(dtype), decay=decay, **chosen), theirs)


def test_lions_defaults() -> None:
    assert_parity(optimizers.Lion(parameters()), pytorch_optimizer.Lion(parameters()))


@pytest.mark.parametrize(
    "chosen",
    options(lr=(1e-2,), momentum=(0.0, 0.9), weight_decay=(0.0, 0.1), maximize=(False, True)),
    ids=ident,
)
@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_signum(decay: str, chosen: dict[str, Any]) -> None:
    decoupled = decay == "decoupled"
    theirs = pytorch_optimizer.SignSGD(parameters(), weight_decouple=decoupled, **chosen)
    assert_parity(optimizers.Signum(parameters(), decay=decay, **chosen), theirs)


@pytest.mark.parametrize("name", ["Lion", "Signum"])
def test_a_gradient_that_is_not_finite_shows(name: str) -> None:
    """torch.sign(nan) is 0: the reference would leave the weight where it is for good."""
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = getattr(optimizers, name)([p], lr=0.5)
    p.grad = torch.tensor([float("nan"), 0.0, -1.0])
    optimizer.step()
    torch.testing.assert_close(p.data, torch.tensor([float("nan"), 2.0, 3.5]), equal_nan=True)
