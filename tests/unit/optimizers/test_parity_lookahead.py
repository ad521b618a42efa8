"""Lookahead over rules of every kind against pytorch_optimizer's wrapper; Ranger in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from parity import SHAPES, STEPS, Transcribed, assert_parity, ident, options, parameters, train

import optimizers
from optimizers import RULES, LaneOptimizer
from optimizers.drop_in.classes import drop_in_class
from optimizers.lookahead import LookaheadRule, lookahead

# With a weight's own shape, lane buffers, two phases, an average to evaluate, an own `alpha`.
KINDS = ["lamb", "nadam", "yellowfin", "prodigy", "schedule_free_adamw", "ademamix", "rmsprop"]
INNER = {name: RULES[name] for name in ("sgd", "adamw", *KINDS)}


def over(name: str) -> LookaheadRule:
    return lookahead(INNER[name], name=f"lookahead_{name}", class_name="Lookahead")


def knobs(name: str, k: int, alpha: float) -> dict[str, float]:
    taken = "alpha" in INNER[name].hypers
    return {"k": k, "lookahead_alpha" if taken else "alpha": alpha}


@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (1, 0.3), (7, 0.0), (300, 0.9)])
@pytest.mark.parametrize("name", INNER)
def test_over_any_rule(name: str, k: int, alpha: float) -> None:
    plain = getattr(optimizers, INNER[name].class_name)
    chosen = {"lr": 0.02, "weight_decay": 0.05}
    theirs = pytorch_optimizer.Lookahead(plain(parameters(), **chosen), k=k, alpha=alpha)
    ours = drop_in_class(over(name))(parameters(), **chosen, **knobs(name, k, alpha))
    assert_parity(ours, theirs)


@pytest.mark.parametrize("name", INNER)
def test_over_any_rule_and_lanes(name: str) -> None:
    """Lanes with k and alpha of their own, each equal to its drop-in."""
    rule = over(name)
    settings = [knobs(name, 3, 0.2), knobs(name, 5, 0.7)]
    hypers = {
        knob: torch.tensor([own[knob] for own in settings], dtype=torch.float64)
        for knob in settings[0]
    }
    start = torch.cat([p.detach().reshape(-1) for p in parameters()])
    lanes = LaneOptimizer(rule, start.repeat(2, 1), SHAPES, hypers)
    alone = [drop_in_class(rule)(parameters(), **own) for own in settings]
    generator = torch.Generator().manual_seed(3)
    for _ in range(30):
        grad = torch.randn(start.shape, generator=generator, dtype=start.dtype)
        parts = grad.split([math.prod(shape) for shape in SHAPES])
        for optimizer in alone:
            for p, part in zip(optimizer.param_groups[0]["params"], parts, strict=True):
                p.grad = part.reshape(p.shape).clone()
            optimizer.step()
        lanes.step(grad.repeat(2, 1))
    for lane, optimizer in enumerate(alone):
        weights = torch.cat([p.reshape(-1) for p in optimizer.averaged_parameters()])
        torch.testing.assert_close(lanes.averaged()[lane], weights, rtol=1e-12, atol=1e-14)


def test_the_slow_weights_are_no_view_of_the_weights() -> None:
    (p,) = parameters(shapes=[(3,)])
    optimizer = optimizers.LookaheadSGD([p], lr=0.1, k=3)
    before = p.detach().clone()
    for _ in range(2):
        p.grad = torch.ones_like(p)
        optimizer.step()
        assert torch.equal(optimizer.state[p]["slow"], before)
    assert not torch.equal(p, before)


def test_the_inner_rules_switches_and_knobs_are_the_outers() -> None:
    with pytest.raises(ValueError, match="nesterov = True needs momentum"):
        optimizers.LookaheadSGD(parameters(), momentum=0.0, nesterov=True)
    with pytest.raises(
        ValueError, match=r"lookahead_sgd has no switch 'amsgrad'\. Known: nesterov"
    ):
        RULES["lookahead_sgd"].switched({"amsgrad": True})
    with pytest.raises(ValueError, match=r"k = 2.5 is invalid; it must be a whole number"):
        optimizers.LookaheadSGD(parameters(), k=2.5)
    chosen = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "maximize": True}
    ours = optimizers.LookaheadSGD(parameters(), k=4, **chosen)
    inner = torch.optim.SGD(parameters(), **chosen)
    assert_parity(ours, pytorch_optimizer.Lookahead(inner, k=4, alpha=0.5))
    amsgrad = optimizers.LookaheadAdamW(parameters(), lr=0.02, amsgrad=True)
    inner = torch.optim.AdamW(parameters(), lr=0.02, amsgrad=True)
    assert_parity(amsgrad, pytorch_optimizer.Lookahead(inner, k=5, alpha=0.5))


def ranger_update(
    lr: float,
    alpha: float,
    k: int,
    threshold: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
) -> Any:
    """The reference's step of one weight, version 2020.9.4."""
    beta1, beta2 = betas

    def update(p: Any, g: Any, state: dict[str, Any], t: int) -> Any:
        slow = state.setdefault("slow", p)
        if g.ndim > 1:
            g = g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True)
        m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        longest = 2 / (1 - beta2) - 1
        n = longest - 2 * t * beta2**t / (1 - beta2**t)
        step, direction = lr / (1 - beta1**t), m
        if n > threshold:
            direction = m / (np.sqrt(v) + eps)
            ratio = (n - 4) / (longest - 4) * (n - 2) / n * longest / (longest - 2)
            step = step * math.sqrt((1 - beta2**t) * ratio)
        p = p - step * (direction + decay * p)
        if t % k == 0:
            p = state["slow"] = slow + alpha * (p - slow)
        return p

    return update


@pytest.mark.parametrize("betas", [(0.95, 0.999), (0.0, 0.5)])
@pytest.mark.parametrize("threshold", [4, 5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_ranger_is_the_authors(
    weight_decay: float, threshold: float, betas: tuple[float, float]
) -> None:
    """beta2 = 0.5 never gets past the threshold."""
    arguments = (0.02, 0.4, 3, threshold, betas, 1e-5, weight_decay)
    ours = optimizers.Ranger(parameters(), *arguments)
    assert_parity(ours, Transcribed(parameters(), ranger_update(*arguments)))


@pytest.mark.parametrize(
    "chosen", options(lr=(0.02,), use_gc=(False, True), maximize=(False, True)), ids=ident
)
def test_ranger_against_pytorch_optimizer(chosen: dict[str, Any]) -> None:
    """Theirs goes uphill at first unless told not to, and its decay is not the reference's."""
    ours = {**chosen, "centralize": chosen["use_gc"]}
    del ours["use_gc"]
    theirs = pytorch_optimizer.Ranger(parameters(), degenerated_to_sgd=True, **chosen)
    assert_parity(optimizers.Ranger(parameters(), **ours), theirs)


def test_rangers_weights_are_its_slow_ones_after_every_kth_update() -> None:
    optimizer = optimizers.Ranger(parameters(), lr=0.02, k=STEPS // 4)
    for p in train(optimizer):
        slow = [s["slow"] for q, s in optimizer.state.items() if q.data_ptr() == p.data_ptr()]
        assert torch.equal(p, slow[0])
