"""Prodigy against prodigyopt: 200 float64 steps, every option, 1e-6 relative."""

from __future__ import annotations

import math
from typing import Any

import prodigyopt
import pytest
import torch
from parity import assert_parity, ident, options, parameters, train

import optimizers

OPTIONS = options(
    betas=((0.9, 0.999), (0.5, 0.8)),
    weight_decay=(0, 0.1),
    use_bias_correction=(False, True),
    safeguard_warmup=(False, True),
    growth_rate=(math.inf, 1.02),
)
NUMBERS: list[dict[str, Any]] = [
    {"beta3": 0.8},
    {"d0": 1e-3, "d_coef": 2.0},
    {"lr": 0.3, "eps": 1e-4},
    {"lr": 0.3, "safeguard_warmup": True, "weight_decay": 0.1},
]


@pytest.mark.parametrize("chosen", OPTIONS + NUMBERS, ids=ident)
def test_prodigy(chosen: dict[str, Any]) -> None:
    theirs = prodigyopt.Prodigy(parameters(), **chosen)
    assert_parity(optimizers.Prodigy(parameters(), **chosen), theirs, rtol=1e-9)


def test_l2_is_decouple_false() -> None:
    theirs = prodigyopt.Prodigy(parameters(), weight_decay=0.1, decouple=False)
    assert_parity(optimizers.Prodigy(parameters(), weight_decay=0.1, decay="l2"), theirs, rtol=1e-9)


def test_no_first_moment_is_the_limit_of_a_short_one() -> None:
    """At beta1 = 0 itself prodigyopt scales the gradient by the new d, elsewhere by the old."""
    theirs = prodigyopt.Prodigy(parameters(), betas=(1e-14, 0.5))
    assert_parity(optimizers.Prodigy(parameters(), betas=(0.0, 0.5)), theirs, rtol=1e-9)


def test_the_estimate_is_prodigyopts() -> None:
    """It grows from d0 by orders of magnitude, and both find the same."""
    ours, theirs = optimizers.Prodigy(parameters()), prodigyopt.Prodigy(parameters())
    train(ours)
    train(theirs)
    lane, (group,) = ours.param_groups[0]["lane_state"], theirs.param_groups
    assert lane["d"].item() > 1e-2
    assert lane["d"].item() == pytest.approx(group["d"], rel=1e-9)
    assert lane["d_max"].item() == pytest.approx(group["d_max"], rel=1e-9)


def test_no_gradient_so_far_leaves_the_estimate() -> None:
    """prodigyopt passes over such a step; then both go on alike."""
    runs = []
    for library in (optimizers, prodigyopt):
        params = parameters()
        optimizer = library.Prodigy(params)
        for step in range(30):
            for p in params:
                p.grad = torch.zeros_like(p) if step < 3 else p.detach().clone()
            optimizer.step()
        runs.append(params)
    for p, q in zip(*runs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=0)


def test_growth_is_not_negative() -> None:
    with pytest.raises(ValueError, match=r"growth_rate = -1.0 is invalid; it must lie in \[0, inf"):
        optimizers.Prodigy(parameters(), growth_rate=-1.0)
