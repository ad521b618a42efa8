"""Schedule-Free SGD and AdamW against schedulefree: training and evaluation weights, 1e-9."""

from __future__ import annotations

from typing import Any

import pytest
import schedulefree
import torch
from parity import assert_parity, ident, options, parameters, train
from schedulefree.wrap_schedulefree_reference import ScheduleFreeWrapperReference

import optimizers
from optimizers.drop_in import RuleOptimizer

SHARED: dict[str, tuple[Any, ...]] = {
    "weight_decay": (0, 0.1),
    "warmup_steps": (0, 30),
    "r": (0.0, 1.5),
    "weight_lr_power": (2.0, 0.0),
}
SGD_OPTIONS = options(lr=(0.05,), momentum=(0.9, 0.5), **SHARED)
ADAMW_OPTIONS = options(lr=(0.02,), betas=((0.9, 0.999), (0.5, 0.8)), eps=(1e-8, 1e-3), **SHARED)


def assert_equal_in_training_and_evaluation(ours: RuleOptimizer, theirs: Any) -> None:
    theirs.train()
    assert_parity(ours, theirs, rtol=1e-9)
    y = [p.detach().clone() for p in ours.param_groups[0]["params"]]
    theirs.eval()
    (group,) = theirs.param_groups
    assert any(not torch.allclose(p, x) for p, x in zip(y, group["params"], strict=True))
    for found, x in zip(ours.averaged_parameters(), group["params"], strict=True):
        torch.testing.assert_close(found, x.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chosen", SGD_OPTIONS, ids=ident)
def test_sgd(chosen: dict[str, Any]) -> None:
    ours = optimizers.ScheduleFreeSGD(parameters(), **chosen)
    theirs = schedulefree.SGDScheduleFree(parameters(), **chosen)
    assert_equal_in_training_and_evaluation(ours, theirs)


@pytest.mark.parametrize("chosen", ADAMW_OPTIONS, ids=ident)
def test_adamw(chosen: dict[str, Any]) -> None:
    ours = optimizers.ScheduleFreeAdamW(parameters(), **chosen)
    theirs = schedulefree.AdamWScheduleFree(parameters(), **chosen)
    assert_equal_in_training_and_evaluation(ours, theirs)


@pytest.mark.parametrize("chosen", [{}, {"r": 1.0}], ids=ident)
def test_decoupled_sgd_is_their_wrapper_over_sgd_with_decoupled_decay(
    chosen: dict[str, Any],
) -> None:
    ours = optimizers.ScheduleFreeSGD(
        parameters(), lr=0.05, momentum=0.8, weight_decay=0.2, decay="decoupled", **chosen
    )
    base = optimizers.SGDW(parameters(), lr=0.05, weight_decay=0.2)
    theirs = ScheduleFreeWrapperReference(base, momentum=0.8, **chosen)
    assert_equal_in_training_and_evaluation(ours, theirs)


def test_defaults_are_theirs() -> None:
    ours: RuleOptimizer = optimizers.ScheduleFreeAdamW(parameters())
    assert_equal_in_training_and_evaluation(ours, schedulefree.AdamWScheduleFree(parameters()))
    ours = optimizers.ScheduleFreeSGD(parameters())
    assert_equal_in_training_and_evaluation(ours, schedulefree.SGDScheduleFree(parameters()))


def test_l2_adamw_normalizes_the_penalty_too() -> None:
    """Which schedulefree has not: so the gradient is given with the penalty."""
    ours = optimizers.ScheduleFreeAdamW(parameters(), lr=0.02, weight_decay=0.1, decay="l2")
    theirs = schedulefree.AdamWScheduleFree(parameters(), lr=0.02)
    theirs.train()
    theirs.register_step_pre_hook(lambda *_: add_penalty(theirs.param_groups[0]["params"]))
    for p, q in zip(train(ours), train(theirs), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def add_penalty(params: list[torch.nn.Parameter]) -> None:
    for p in params:
        assert p.grad is not None
        p.grad.add_(p.detach(), alpha=0.1)


@pytest.mark.parametrize("name", ["ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_low_precision_weights_have_an_average(name: str) -> None:
    params = [torch.nn.Parameter(p.detach().bfloat16()) for p in parameters()]
    optimizer = getattr(optimizers, name)(params, lr=0.05)
    train(optimizer)
    exact = getattr(optimizers, name)(parameters(), lr=0.05)
    train(exact)
    pairs = zip(optimizer.averaged_parameters(), exact.averaged_parameters(), strict=True)
    for found, expected in pairs:
        assert found.dtype is torch.bfloat16
        torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.05)
