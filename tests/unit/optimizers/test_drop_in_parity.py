"""SGD, Adam and the kernels against torch.optim: 200 float64 steps, 1e-12 relative."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parity import assert_parity, ident, options, parameters
from programs import each_in_torch

import optimizers
from optimizers.drop_in import optimizer as driver

SGD_OPTIONS = [
    chosen
    for chosen in options(
        momentum=(0, 0.9),
        dampening=(0, 0.3),
        weight_decay=(0, 0.1),
        nesterov=(False, True),
        maximize=(False, True),
    )
    if not chosen["nesterov"] or (chosen["momentum"] > 0 and chosen["dampening"] == 0)
]
ADAM_OPTIONS = options(
    betas=((0.9, 0.999), (0.0, 0.5)),
    eps=(1e-8, 1e-3),
    weight_decay=(0, 0.1),
    amsgrad=(False, True),
    maximize=(False, True),
)
DTYPES = [torch.float64, torch.complex128]
NUMBERS: dict[str, tuple[Any, ...]] = {
    "SGD": (0.05, 0.8, 0.1, 0.01),
    "Adam": (0.02, (0.8, 0.95), 1e-6, 0.01, True),
    "AdamW": (0.02, (0.8, 0.95), 1e-6, 0.01, True),
    "Adagrad": (0.02, 0.01, 0.1, 0.2, 1e-3),
    "Adadelta": (0.5, 0.8, 1e-3, 0.1),
    "RMSprop": (0.02, 0.9, 1e-3, 0.1, 0.5, True),
    "NAdam": (0.02, (0.8, 0.95), 1e-3, 0.1, 0.01, True),
    "Adamax": (0.02, (0.8, 0.95), 1e-3, 0.1),
    "Rprop": (0.02, (0.4, 1.3), (1e-3, 0.1)),
    "ASGD": (0.02, 0.01, 0.8, 50.0, 0.1),
    "RAdam": (0.02, (0.8, 0.9), 1e-3, 0.1, True),
    "Adafactor": (0.02, -0.7, (1e-2, 1e-2), 1.5, 0.1),
}
"""Positional arguments of torch's constructors, none at its default."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", SGD_OPTIONS, ids=ident)
def test_sgd(chosen: dict[str, Any], dtype: torch.dtype) -> None:
    ours = optimizers.SGD(parameters(dtype), lr=0.05, **chosen)
    assert_parity(ours, torch.optim.SGD(parameters(dtype), lr=0.05, **chosen))


@pytest.mark.parametrize("chosen", SGD_OPTIONS, ids=ident)
def test_sgdw_is_sgd_after_shrinking_the_weights(chosen: dict[str, Any]) -> None:
    ours = optimizers.SGDW(parameters(), lr=0.05, **chosen)
    shrink = 1 - 0.05 * chosen["weight_decay"]
    plain = {**chosen, "weight_decay": 0}
    assert_parity(ours, torch.optim.SGD(parameters(), lr=0.05, **plain), shrink)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", ADAM_OPTIONS, ids=ident)
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam(name: str, chosen: dict[str, Any], dtype: torch.dtype) -> None:
    ours = getattr(optimizers, name)(parameters(dtype), lr=0.02, **chosen)
    assert_parity(ours, getattr(torch.optim, name)(parameters(dtype), lr=0.02, **chosen))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("name", ["Adam", "SGD", "Adagrad"])
def test_the_rule_and_torchs_kernel_are_one_algorithm(
    name: str, decoupled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: dict[str, Any] = {"weight_decay": 0.1}
    chosen |= {"decay": "decoupled"} if decoupled else {}
    chosen |= {"momentum": 0.9, "dampening": 0.3} if name == "SGD" else {}
    chosen |= {"lr_decay": 0.01, "initial_accumulator_value": 0.3} if name == "Adagrad" else {}
    kernel = getattr(optimizers, name)(parameters(), lr=0.02, **chosen)
    by_rule = getattr(optimizers, name)(parameters(), lr=0.02, **chosen)
    step = by_rule.step

    def without_kernel() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(driver, "fused_kernel", lambda _: None)
            step()

    by_rule.step = without_kernel
    assert_parity(kernel, by_rule)


@each_in_torch
@pytest.mark.parametrize("given", [False, True], ids=["defaults", "positional"])
@pytest.mark.usefixtures("double_by_default")
def test_defaults_and_positional_arguments(name: str, given: bool) -> None:
    arguments = NUMBERS[name] if given else ()
    ours = getattr(optimizers, name)(parameters(), *arguments)
    assert_parity(ours, getattr(torch.optim, name)(parameters(), *arguments))


@each_in_torch
@pytest.mark.usefixtures("double_by_default")
def test_tensor_lr(name: str) -> None:
    rate = torch.tensor(0.02, dtype=torch.float64)
    ours = getattr(optimizers, name)(parameters(), lr=rate)
    assert_parity(ours, getattr(torch.optim, name)(parameters(), lr=rate.clone()))
