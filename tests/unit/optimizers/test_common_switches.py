"""`cautious` and `centralize` on rules of several kinds, against references and their papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from parity import Transcribed, assert_parity, parameters

import optimizers


def kept(step: Any, g: Any) -> Any:
    """The step that goes down the gradient, scaled by how much of it does.

    Algorithm 1 of the paper (arXiv:2411.16085) is u * m / (mean(m) + eps) with the mask
    m = u * g > 0; the authors' code has eps = 1 / size, which is m * size / (sum(m) + 1).
    """
    mask = step * g < 0
    return step * mask / (mask.mean() + 1 / mask.size)


def centralized(g: Any) -> Any:
    return g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g


def adam_step(g: Any, state: dict[str, Any], t: int) -> Any:
    m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    v = state["v"] = 0.99 * state.get("v", 0) + 0.01 * g**2
    return -0.02 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)


def momentum_step(g: Any, state: dict[str, Any]) -> Any:
    z = state["z"] = 0.9 * state.get("z", 0) + g
    return -0.02 * z


def lamb_step(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
    u = adam_step(g, state, t) / -0.02 + 0.1 * p
    return -0.02 * np.linalg.norm(p) / np.linalg.norm(u) * u


ADAM = {"lr": 0.02, "betas": (0.9, 0.99), "weight_decay": 0.1}
SGD = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}


def expected(name: str, cautious: bool, centralize: bool) -> Any:
    """Decay is none of the step that caution looks at, but for LAMB's, which is inside it."""

    def masked(step: Any, g: Any) -> Any:
        return kept(step, g) if cautious else step

    def update(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
        g = centralized(g) if centralize else g
        if name == "AdamW":
            return p * (1 - 0.02 * 0.1) + masked(adam_step(g, state, t), g)
        if name == "Lamb":
            return p + masked(lamb_step(p, g, state, t), g)
        g = g + 0.1 * p
        return p + masked(momentum_step(g, state), g)

    return update


@pytest.mark.parametrize(("cautious", "centralize"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("name", "chosen"), [("AdamW", ADAM), ("SGD", SGD), ("Lamb", ADAM)])
def test_against_the_papers(
    name: str, chosen: dict[str, Any], cautious: bool, centralize: bool
) -> None:
    eps = {"eps": 1e-8} if name == "Lamb" else {}
    ours = getattr(optimizers, name)(
        parameters(), cautious=cautious, centralize=centralize, **chosen, **eps
    )
    assert_parity(ours, Transcribed(parameters(), expected(name, cautious, centralize)))


COMMON = {"lr": 0.02, "betas": (0.9, 0.99), "weight_decay": 0.05}


@pytest.mark.parametrize("decay", ["l2", "decoupled", "independent"])
def test_cautious_lion_against_pytorch_optimizer(decay: str) -> None:
    theirs = pytorch_optimizer.Lion(
        parameters(),
        weight_decouple=decay != "l2",
        fixed_decay=decay == "independent",
        cautious=True,
        **COMMON,
    )
    assert_parity(optimizers.Lion(parameters(), decay=decay, cautious=True, **COMMON), theirs)


def test_cautious_adopt_against_pytorch_optimizer() -> None:
    theirs = pytorch_optimizer.ADOPT(
        parameters(), clip_lambda=lambda step: (step - 1) ** 0.25, cautious=True, **COMMON
    )
    assert_parity(optimizers.ADOPT(parameters(), cautious=True, **COMMON), theirs)


@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_centralize_against_pytorch_optimizer(decay: str) -> None:
    theirs = pytorch_optimizer.Lion(
        parameters(), weight_decouple=decay == "decoupled", use_gc=True, **COMMON
    )
    assert_parity(optimizers.Lion(parameters(), decay=decay, centralize=True, **COMMON), theirs)


def test_a_step_that_goes_up_everywhere_is_dropped() -> None:
    p = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = optimizers.SGD([p], lr=0.1, momentum=0.9, cautious=True)
    p.grad = torch.tensor([1.0, 1.0])
    optimizer.step()
    # Both of the two are kept: 2 / (2 + 1).
    torch.testing.assert_close(p.data, torch.full((2,), 1 - 0.1 * 2 / 3))
    before = p.detach().clone()
    p.grad = torch.tensor([-0.1, -0.1])
    optimizer.step()
    assert torch.equal(p.data, before)
