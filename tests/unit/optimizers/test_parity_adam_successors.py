"""AdaBelief, ADOPT and AdEMAMix against pytorch_optimizer and their authors' formulas in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
from parity import Transcribed, assert_parity, ident, options, parameters

import optimizers

DECAYS = {
    "l2": {"weight_decouple": False},
    "decoupled": {"weight_decouple": True},
    "independent": {"weight_decouple": True, "fixed_decay": True},
}
OPTIONS = options(lr=(0.01,), weight_decay=(0.0, 0.05), eps=(1e-16, 1e-4), maximize=(False, True))


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
@pytest.mark.parametrize("chosen", OPTIONS, ids=ident)
@pytest.mark.parametrize("decay", DECAYS)
def test_adabelief(decay: str, chosen: dict[str, Any], betas: tuple[float, float]) -> None:
    """beta1 = 0 leaves nothing but eps in the second moment."""
    if betas[0] == 0:
        chosen = {**chosen, "lr": 1e-8}
    common = {**chosen, "betas": betas}
    theirs = pytorch_optimizer.AdaBelief(parameters(), **common, **DECAYS[decay])
    assert_parity(optimizers.AdaBelief(parameters(), decay=decay, **common), theirs)


@pytest.mark.parametrize("betas", [(0.9, 0.9999), (0.5, 0.9)])
@pytest.mark.parametrize("chosen", OPTIONS, ids=ident)
def test_adopt(chosen: dict[str, Any], betas: tuple[float, float]) -> None:
    """Theirs counts the first gradient as an update: its bound is of t where ours is of t - 1."""
    common = {**chosen, "betas": betas}
    theirs = pytorch_optimizer.ADOPT(
        parameters(), clip_lambda=lambda step: (step - 1) ** 0.25, **common
    )
    assert_parity(optimizers.ADOPT(parameters(), **common), theirs)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adopt_is_the_authors(decoupled: bool) -> None:
    """Their step counts from 0, where nothing moves; decoupled decay waits as well."""
    lr, beta1, beta2, eps, decay = 0.01, 0.9, 0.99, 1e-6, 0.1

    def update(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
        step = t - 1
        g = g if decoupled else g + decay * p
        if step == 0:
            state["m"], state["v"] = 0.0, g**2
            return p
        p = p * (1 - lr * decay) if decoupled else p
        n = np.clip(g / np.maximum(np.sqrt(state["v"]), eps), -(step**0.25), step**0.25)
        state["m"] = beta1 * state["m"] + (1 - beta1) * n
        state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
        return p - lr * state["m"]

    ours = optimizers.ADOPT(
        parameters(), lr, (beta1, beta2), eps, decay, decay="decoupled" if decoupled else "l2"
    )
    assert_parity(ours, Transcribed(parameters(), update))


@pytest.mark.parametrize("warmup", [None, 60, 500])
@pytest.mark.parametrize("betas", [(0.9, 0.999, 0.9999), (0.5, 0.9, 0.99)])
@pytest.mark.parametrize("chosen", OPTIONS[:4], ids=ident)
@pytest.mark.parametrize("decay", DECAYS)
def test_ademamix(
    decay: str, chosen: dict[str, Any], betas: tuple[float, float, float], warmup: int | None
) -> None:
    common = {**chosen, "betas": betas, "alpha": 5.0}
    warmups = {"beta3_warmup": warmup or 0, "alpha_warmup": warmup or 0}
    theirs = pytorch_optimizer.AdEMAMix(
        parameters(), t_alpha_beta3=warmup, **common, **DECAYS[decay]
    )
    assert_parity(optimizers.AdEMAMix(parameters(), decay=decay, **common, **warmups), theirs)


def half_life(beta: float) -> float:
    return math.log(0.5) / math.log(beta) - 1


def test_ademamixs_warmups_have_lengths_of_their_own() -> None:
    """The authors write beta3's as linear in its half-life, from beta1's to its own."""
    lr, beta1, beta2, beta3, alpha, eps, decay = 0.01, 0.9, 0.99, 0.999, 4.0, 1e-8, 0.1

    def update(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
        a, b = min(t / 50, 1.0), min(t / 150, 1.0)
        slow_beta = 0.5 ** (1 / ((1 - b) * half_life(beta1) + b * half_life(beta3) + 1))
        state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        state["n"] = slow_beta * state.get("n", 0) + (1 - slow_beta) * g
        state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        both = state["m"] / (1 - beta1**t) + a * alpha * state["n"]
        return p - lr * (both / (np.sqrt(state["v"] / (1 - beta2**t)) + eps) + decay * p)

    ours = optimizers.AdEMAMix(parameters(), lr, (beta1, beta2, beta3), alpha, 150, 50, eps, decay)
    assert_parity(ours, Transcribed(parameters(), update))
