"""RAdam below its threshold: the paper's algorithm and the authors' code, beside torch's class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import assert_parity, parameters
from pytorch_optimizer import RAdam as AuthorsRAdam

import optimizers

STEPS = 30


def algorithm_2(start: np.ndarray, grads: list[np.ndarray], lr: float, beta2: float) -> np.ndarray:
    """Liu et al., arXiv:1908.03265, algorithm 2, line by line; eps as torch adds it."""
    beta1, eps = 0.9, 1e-8
    rho_inf = 2 / (1 - beta2) - 1
    theta, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(grads, 1):
        v = beta2 * v + (1 - beta2) * g**2
        m = beta1 * m + (1 - beta1) * g
        m_hat = m / (1 - beta1**t)
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 4:
            adaptive = np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
            top, bottom = (rho - 4) * (rho - 2) * rho_inf, (rho_inf - 4) * (rho_inf - 2) * rho
            theta = theta - lr * np.sqrt(top / bottom) * m_hat * adaptive
        else:
            theta = theta - lr * m_hat
    return theta


@pytest.mark.parametrize("beta2", [0.999, 0.9, 0.6, 0.5])
def test_a_threshold_of_four_is_the_paper(beta2: float) -> None:
    """At beta2 = 0.6 and below rho never exceeds 4, and every step is of momentum."""
    generator = np.random.default_rng(0)
    start, grads = generator.normal(size=5), [generator.normal(size=5) for _ in range(STEPS)]
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = optimizers.RAdam([weight], lr=0.05, betas=(0.9, beta2), threshold=4.0)
    for g in grads:
        weight.grad = torch.tensor(g)
        optimizer.step()
    expected = algorithm_2(start, grads, 0.05, beta2)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


def test_the_threshold_decides_which_step_is_rectified() -> None:
    """At beta2 = 0.999, rho is 3.997 at t = 4, 4.996 at t = 5 and 5.994 at t = 6."""
    first = {}
    for threshold in (4.0, 4.99, 5.0):
        weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = optimizers.RAdam([weight], threshold=threshold, unrectified="skip")
        for t in range(1, 8):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
            if weight.item() and threshold not in first:
                first[threshold] = t
    assert first == {4.0: 5, 4.99: 5, 5.0: 6}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("unrectified", ["skip", "momentum"])
def test_the_authors_code(unrectified: str, weight_decay: float) -> None:
    """It decays no weight that it does not move."""
    ours = optimizers.RAdam(
        parameters(),
        lr=0.02,
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
        unrectified=unrectified,
    )
    theirs = AuthorsRAdam(
        parameters(),
        lr=0.02,
        weight_decay=weight_decay,
        degenerated_to_sgd=unrectified == "momentum",
    )
    assert_parity(ours, theirs, rtol=1e-6)
