"""LAMB and LARS against their papers in numpy, and pytorch_optimizer where it has their form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from parity import Transcribed, assert_parity, ident, options, parameters

import optimizers

MATRICES = [(4, 3), (2, 3, 2), (2, 2, 1, 2)]


def length_ratio(p: Any, u: Any) -> Any:
    p_length, u_length = np.linalg.norm(p), np.linalg.norm(u)
    return p_length / u_length if p_length > 0 and u_length > 0 else 1.0


def lamb_update(lr: float, beta1: float, beta2: float, eps: float, decay: float) -> Any:
    def update(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
        m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        r = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        u = r + decay * p
        return p - lr * length_ratio(p, u) * u

    return update


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lamb_is_the_papers_algorithm(
    betas: tuple[float, float], eps: float, weight_decay: float
) -> None:
    """Every tensor is scaled, vectors and single numbers too."""
    ours = optimizers.Lamb(parameters(), 0.02, betas, eps, weight_decay)
    theirs = lamb_update(0.02, *betas, eps, weight_decay)
    assert_parity(ours, Transcribed(parameters(), theirs))


@pytest.mark.parametrize(
    "chosen", options(weight_decay=(0.0, 0.1), maximize=(False, True)), ids=ident
)
def test_lamb_without_bias_correction(chosen: dict[str, Any]) -> None:
    """Theirs adds eps to the step's length and bounds the weights' by 10: neither shows here.

    adam_debias = True leaves out the one bias correction that it puts after the scaling.
    """
    common = {"lr": 1e-3, "eps": 1e-15, **chosen}
    ours = optimizers.Lamb(parameters(), bias_correction=False, **common)
    theirs = pytorch_optimizer.Lamb(parameters(), weight_decouple=False, adam_debias=True, **common)
    assert_parity(ours, theirs)


def test_lambs_other_decays_stand_outside_the_scaled_step() -> None:
    plain = lamb_update(0.02, 0.9, 0.999, 1e-6, 0.0)
    ours = optimizers.Lamb(parameters(), 0.02, weight_decay=0.1, decay="independent")
    assert_parity(ours, Transcribed(parameters(), plain), shrink=0.9)
    ours = optimizers.Lamb(parameters(), 0.02, weight_decay=0.1, decay="l2")
    theirs = Transcribed(parameters(), lambda p, g, *rest: plain(p, g + 0.1 * p, *rest))
    assert_parity(ours, theirs)


def lars_update(lr: Any, momentum: float, decay: float, trust: float) -> Any:
    def update(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
        p_length, g_length = np.linalg.norm(p), np.linalg.norm(g)
        rate = trust * p_length / (g_length + decay * p_length) if p_length > 0 else 1.0
        z = state["z"] = momentum * state.get("z", 0) + lr(t) * rate * (g + decay * p)
        return p - z

    return update


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lars_is_the_papers_algorithm(momentum: float, weight_decay: float) -> None:
    """lr is multiplied into the momentum buffer, which shows when it changes."""
    ours = optimizers.LARS(parameters(), 1.0, momentum, weight_decay, 0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(ours, 0.99)
    ours.register_step_post_hook(lambda *_: schedule.step())
    theirs = lars_update(lambda t: 0.99 ** (t - 1), momentum, weight_decay, 0.01)
    assert_parity(ours, Transcribed(parameters(), theirs))


@pytest.mark.parametrize(
    "chosen",
    options(
        lr=(0.5,), momentum=(0.0, 0.9), weight_decay=(0.0, 0.1), trust_coefficient=(1e-3, 0.02)
    ),
    ids=ident,
)
def test_lars_on_matrices(chosen: dict[str, Any]) -> None:
    """Theirs does not scale vectors."""
    ours = optimizers.LARS(parameters(shapes=MATRICES), **chosen)
    assert_parity(ours, pytorch_optimizer.LARS(parameters(shapes=MATRICES), **chosen))


@pytest.mark.parametrize("name", ["Lamb", "LARS"])
def test_weights_of_zero_take_an_unscaled_step(name: str) -> None:
    p = torch.nn.Parameter(torch.zeros(3))
    optimizer = getattr(optimizers, name)([p], lr=0.1)
    p.grad = torch.tensor([1.0, 1.0, 0.0])
    optimizer.step()
    share = optimizer.param_groups[0].get("trust_coefficient", 1.0)  # LARS's
    torch.testing.assert_close(p.data, torch.tensor([-0.1, -0.1, 0.0]) * share)
    p.grad = torch.zeros(3)
    p.data.zero_()
    optimizer.state.clear()
    optimizer.step()
    assert torch.equal(p.data, torch.zeros(3))
