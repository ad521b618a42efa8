"""The dense algorithms of torch.optim beside SGD and Adam: every documented option, 1e-12."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parity import assert_parity, ident, options, parameters

import optimizers

DECAY = {"weight_decay": (0, 0.1), "maximize": (False, True)}
BETAS = ((0.9, 0.999), (0.5, 0.7))
EPS = (1e-8, 1e-3)
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "Adagrad": options(
        lr_decay=(0, 0.01), initial_accumulator_value=(0, 0.3), eps=(1e-10, 1e-3), **DECAY
    ),
    "Adadelta": options(lr=(1.0, 0.1), rho=(0.9, 0.5), eps=(1e-6, 1e-3), **DECAY),
    "RMSprop": options(
        alpha=(0.99, 0.5), eps=EPS, momentum=(0, 0.9), centered=(False, True), **DECAY
    ),
    "NAdam": options(
        betas=BETAS, momentum_decay=(4e-3, 0.1), decoupled_weight_decay=(False, True), **DECAY
    ),
    "Adamax": options(betas=BETAS, eps=EPS, **DECAY),
    "Rprop": options(
        etas=((0.5, 1.2), (0.3, 1.5)), step_sizes=((1e-6, 50), (1e-3, 0.1)), maximize=(False, True)
    ),
    "ASGD": options(lambd=(1e-4, 0.1), alpha=(0.75, 1.0), t0=(1e6, 50), **DECAY),
    "RAdam": options(betas=BETAS, eps=EPS, decoupled_weight_decay=(False, True), **DECAY),
    "Adafactor": options(
        beta2_decay=(-0.8, -0.5), eps=((None, 1e-3), (0.1, 0.5)), d=(1.0, 2.0), **DECAY
    ),
}
REAL, COMPLEX = torch.float64, torch.complex128
CASES = [
    pytest.param(name, chosen, dtype, id=f"{name}-{dtype}-{ident(chosen)}".replace("torch.", ""))
    for name, cases in OPTIONS.items()
    for chosen in cases
    for dtype in ((REAL,) if name == "Adafactor" else (REAL, COMPLEX))
]


@pytest.mark.parametrize(("name", "chosen", "dtype"), CASES)
@pytest.mark.usefixtures("double_by_default")
def test_equals_torchs(name: str, chosen: dict[str, Any], dtype: torch.dtype) -> None:
    chosen = {"lr": 0.02, **chosen}
    ours = getattr(optimizers, name)(parameters(dtype), **chosen)
    assert_parity(ours, getattr(torch.optim, name)(parameters(dtype), **chosen))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_nadamw_is_nadam_with_decoupled_decay(weight_decay: float) -> None:
    ours = optimizers.NAdamW(parameters(), lr=0.02, weight_decay=weight_decay)
    theirs = torch.optim.NAdam(
        parameters(), lr=0.02, weight_decay=weight_decay, decoupled_weight_decay=True
    )
    assert_parity(ours, theirs, rtol=1e-6)  # torch's product of the mu is in float32


@pytest.mark.parametrize("t0", [1e6, 50])
@pytest.mark.usefixtures("double_by_default")
def test_asgd_evaluates_the_average_that_torch_keeps(t0: float) -> None:
    ours, theirs = (
        library.ASGD(parameters(), lr=0.02, lambd=0.01, t0=t0)
        for library in (optimizers, torch.optim)
    )
    assert_parity(ours, theirs)
    for found, p in zip(ours.averaged_parameters(), theirs.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(found, theirs.state[p]["ax"], rtol=1e-12, atol=1e-14)
        assert torch.equal(found, p) == (t0 == 1e6)


def test_adafactor_keeps_a_row_and_a_column_of_a_matrix() -> None:
    weight = torch.nn.Parameter(torch.ones(50, 30))
    optimizer = optimizers.Adafactor([weight])
    weight.grad = torch.randn(50, 30)
    optimizer.step()
    state = optimizer.state[weight]
    sizes = {name: value.numel() for name, value in state.items() if name != "step"}
    assert sizes == {"row_var": 50, "col_var": 30, "variance": 0}


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_adafactors_eps_of_none_and_of_zero_are_the_dtypes(shape: tuple[int, ...]) -> None:
    """Without it, a gradient of zeros would be divided by zero."""
    weights = []
    for eps in (None, 0.0, torch.finfo(torch.float32).eps):
        weight = torch.nn.Parameter(torch.ones(shape))
        weight.grad = torch.zeros(shape)
        weight.grad[0] = 1e-9
        optimizer = optimizers.Adafactor([weight], eps=(eps, 1e-3))
        optimizer.step()
        weights.append(weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], torch.ones(shape))
    assert weights[0].isfinite().all()


def test_rprop_shows_a_nan_that_torchs_hides() -> None:
    weights = []
    for library in (optimizers, torch.optim):
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = library.Rprop([weight], lr=0.1)
        weight.grad = torch.tensor([float("nan"), 1.0])
        optimizer.step()
        weights.append(weight.tolist())
    assert weights[1] == pytest.approx([1.0, 0.9])
    assert weights[0] == pytest.approx([float("nan"), 0.9], nan_ok=True)


def test_centered_rmsprop_takes_a_negative_variance_for_none() -> None:
    """Rounding leaves v below m^2 where a gradient hardly changes; torch's weight is then NaN."""
    weights = []
    for library in (optimizers, torch.optim):
        weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        weight.grad = torch.ones_like(weight)
        optimizer = library.RMSprop([weight], lr=1e-3, eps=1e-2, centered=True)
        optimizer.step()
        optimizer.state[weight]["grad_avg"].fill_(1.0)
        optimizer.state[weight]["square_avg"].fill_(1 - 1e-15)
        before = weight.item()
        optimizer.step()
        weights.append(weight.item() - before)
    assert weights == pytest.approx([-1e-3 / 1e-2, float("nan")], nan_ok=True)
