"""The drop-ins against torch.optim: 200 float64 steps, every option combination, 1e-12 relative."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

import optimizers

SHAPES = [(), (3,), (2, 3), (2, 1, 2), (2, 2, 1, 2)]
STEPS = 200


def parameters(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]
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


def assert_parity(ours: Optimizer, theirs: Optimizer, shrink: float = 1.0) -> None:
    for p, q in zip(train(ours), train(theirs, shrink), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def options(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]


def ident(chosen: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}".replace(" ", "") for key, value in chosen.items())


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
    maximize=(False, True),
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("chosen", SGD_OPTIONS, ids=ident)
def test_sgd(chosen: dict[str, Any], dtype: torch.dtype) -> None:
    ours = optimizers.SGD(parameters(dtype), lr=0.05, **chosen)
    assert_parity(ours, torch.optim.SGD(parameters(dtype), lr=0.05, **chosen))


@pytest.mark.parametrize("chosen", SGD_OPTIONS, ids=ident)
def test_sgdw_is_sgd_after_shrinking_the_weights(chosen: dict[str, Any]) -> None:
    ours = optimizers.SGDW(parameters(torch.float64), lr=0.05, **chosen)
    shrink = 1 - 0.05 * chosen["weight_decay"]
    plain = {**chosen, "weight_decay": 0}
    assert_parity(ours, torch.optim.SGD(parameters(torch.float64), lr=0.05, **plain), shrink)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("chosen", ADAM_OPTIONS, ids=ident)
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam(name: str, chosen: dict[str, Any], dtype: torch.dtype) -> None:
    ours = getattr(optimizers, name)(parameters(dtype), lr=0.02, **chosen)
    assert_parity(ours, getattr(torch.optim, name)(parameters(dtype), lr=0.02, **chosen))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults_and_positional_arguments(name: str) -> None:
    positional = {"SGD": (0.05, 0.8, 0.1, 0.01), "Adam": (0.02, (0.8, 0.95), 1e-6, 0.01)}
    for arguments in ((), positional["Adam" if name == "AdamW" else name]):
        ours = getattr(optimizers, name)(parameters(torch.float64), *arguments)
        assert_parity(ours, getattr(torch.optim, name)(parameters(torch.float64), *arguments))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_tensor_lr(name: str) -> None:
    rate = torch.tensor(0.02, dtype=torch.float64)
    ours = getattr(optimizers, name)(parameters(torch.float64), lr=rate)
    assert_parity(ours, getattr(torch.optim, name)(parameters(torch.float64), lr=rate.clone()))


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    ("name", "chosen"),
    [("SGD", {"momentum": 0.9, "dampening": 0.3}), ("Adam", {}), ("AdamW", {}), ("SGD", {})],
)
def test_state_dict_goes_over_to_torch_and_back(
    name: str, chosen: dict[str, Any], ours_first: bool
) -> None:
    libraries = (optimizers, torch.optim) if ours_first else (torch.optim, optimizers)
    first, second = (getattr(library, name) for library in libraries)
    straight = torch.optim.SGD if name == "SGD" else getattr(torch.optim, name)
    expected = straight(parameters(torch.float64), lr=0.02, **chosen)
    train(expected)
    before = first(parameters(torch.float64), lr=0.02, **chosen)
    params = [torch.nn.Parameter(p.clone()) for p in train(before)]
    after = second(params, lr=1.0)
    after.load_state_dict(before.state_dict())
    assert_parity(after, expected)


def test_a_state_of_another_meaning_is_refused() -> None:
    amsgrad = torch.optim.Adam(parameters(torch.float64), amsgrad=True)
    with pytest.raises(ValueError, match="amsgrad = True in the loaded state; Adam has False"):
        optimizers.Adam(parameters(torch.float64)).load_state_dict(amsgrad.state_dict())
    decoupled = torch.optim.AdamW(parameters(torch.float64)).state_dict()
    with pytest.raises(ValueError, match="decoupled_weight_decay = True in the loaded state"):
        optimizers.Adam(parameters(torch.float64)).load_state_dict(decoupled)
