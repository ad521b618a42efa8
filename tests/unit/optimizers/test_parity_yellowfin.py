"""YellowFin against the paper's equations, written out in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from parity import STEPS, ident, options, parameters, train

import optimizers

Array = NDArray[np.float64]


class Mean:
    """A running mean, and the same without its start at zero."""

    def __init__(self, beta: float) -> None:
        self.beta, self.steps, self.raw = beta, 0, 0.0

    def add(self, value: Any) -> Any:
        self.steps += 1
        self.raw = self.beta * self.raw + (1 - self.beta) * value
        return self.raw / (1 - self.beta**self.steps)


class Tuner:
    """Algorithm 1: CurvatureRange, Variance, Distance and SingleStep."""

    def __init__(self, beta: float, eps: float) -> None:
        self.eps = eps
        self.norms: list[float] = []
        self.low, self.high = Mean(beta), Mean(beta)
        self.gradient, self.square = Mean(beta), Mean(beta)
        self.norm, self.distance = Mean(beta), Mean(beta)

    def tune(self, g: Array) -> tuple[float, float]:
        """(rate, momentum) for a step along the gradient `g` of all weights."""
        eps = self.eps
        n = float(g @ g)
        self.norms.append(n)
        window = self.norms[-20:]
        h_min = math.exp(self.low.add(math.log(min(window) + eps))) + eps
        h_max = math.exp(self.high.add(math.log(max(window) + eps))) + eps
        square, mean = self.square.add(n), self.gradient.add(g)
        variance = max(square - float(mean @ mean), eps) + eps
        self.norm.add(math.sqrt(n))
        distance = self.distance.add(self.norm.raw / (self.square.raw + eps)) + eps
        # d/dx (x^2 D^2 + (1 - x)^4 C / h_min^2) = 0, where x is the root of the momentum
        weight = 2 * variance / h_min**2
        cubic = weight * np.poly1d([-1.0, 1.0]) ** 3 - distance**2 * np.poly1d([1.0, 0.0])
        (x,) = [root.real for root in cubic.roots if abs(root.imag) < 1e-7 * abs(root)]
        spread = math.sqrt(h_max / h_min)
        x = max(x, (spread - 1) / (spread + 1))
        return (1 - x) ** 2 / h_min, x * x


def reference(
    lr: float, beta: float, eps: float, weight_decay: float, slow_start: bool, noise: float
) -> tuple[Array, set[bool]]:
    """The weights after `train`, and whether the noise (True) or the spread set the momentum."""
    p = np.concatenate([x.detach().numpy().reshape(-1) for x in parameters()])
    sizes = np.cumsum([x.numel() for x in parameters()])[:-1]
    generator = torch.Generator().manual_seed(1)
    tuner, z, by_noise = Tuner(beta, eps), np.zeros_like(p), set()
    for t in range(1, STEPS + 1):
        parts = []
        for part, shape in zip(np.split(p, sizes), [x.shape for x in parameters()], strict=True):
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64).numpy()
            parts.append(0.3 * part + noise * drawn.reshape(-1))
        g = np.concatenate(parts) + weight_decay * p
        rate, momentum = tuner.tune(g)
        spread = (math.sqrt(momentum) + 1) / (1 - math.sqrt(momentum))
        by_noise.add(not math.isclose(spread**2, spread_of(tuner), rel_tol=1e-6))
        if slow_start:
            rate *= min(1, t / 200)
        z = momentum * z + g
        p = p - lr * rate * z
    return p, by_noise


def spread_of(tuner: Tuner) -> float:
    low, high = (m.raw / (1 - m.beta**m.steps) for m in (tuner.low, tuner.high))
    return (math.exp(high) + tuner.eps) / (math.exp(low) + tuner.eps)


def quieter(optimizer: torch.optim.Optimizer, noise: float) -> None:
    """Makes `train`'s gradients 0.3 * p + noise * draw."""

    def scale(*_: object) -> None:
        for p in optimizer.param_groups[0]["params"]:
            p.grad = 0.3 * p.detach() + noise * (p.grad - 0.3 * p.detach())

    optimizer.register_step_pre_hook(scale)


OPTIONS = [
    *options(
        lr=(1.0, 0.4),
        beta=(0.999, 0.9),
        eps=(1e-6,),
        weight_decay=(0.0, 0.1),
        slow_start=(True, False),
    ),
    {"lr": 1.0, "beta": 0.99, "eps": 1e-3, "weight_decay": 0.0, "slow_start": True},
]


@pytest.mark.parametrize("noise", [1.0, 0.02])
@pytest.mark.parametrize("chosen", OPTIONS, ids=ident)
def test_yellowfin(chosen: dict[str, Any], noise: float) -> None:
    optimizer = optimizers.YellowFin(parameters(), **chosen)
    quieter(optimizer, noise)
    found = np.concatenate([p.numpy().reshape(-1) for p in train(optimizer)])
    expected, _ = reference(**chosen, noise=noise)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_both_the_noise_and_the_curvature_set_the_momentum() -> None:
    """Else the comparison above would leave out one of them."""
    chosen = {"lr": 1.0, "beta": 0.999, "eps": 1e-6, "weight_decay": 0.0, "slow_start": True}
    found = [reference(**chosen, noise=noise)[1] for noise in (1.0, 0.02)]  # type: ignore[arg-type]
    assert found[0] | found[1] == {True, False}


def test_the_root_keeps_its_digits_without_noise() -> None:
    """x ~ 2 C / (D h_min)^2, where Vieta's substitution is left with rounding errors."""
    from optimizers.rules.yellowfin import _single_step

    distance = torch.tensor([1e3, 1e6], dtype=torch.float64)
    noise = torch.full((2,), 1e-6, dtype=torch.float64)
    root = _single_step(distance, noise)
    assert root.tolist() == pytest.approx([2e-12, 2e-18], abs=4e-16)
    assert (root < 1).all()
