"""`optimizer.averaged()`: the weights to evaluate in the model for a while, then its own again."""

from __future__ import annotations

import copy

import pytest
import torch
from parity import parameters, train
from torch import Tensor

import optimizers
from optimizers.drop_in import RuleOptimizer


def trained(name: str = "ScheduleFreeAdamW") -> tuple[RuleOptimizer, list[Tensor]]:
    optimizer = getattr(optimizers, name)(parameters(), lr=0.05)
    train(optimizer)
    return optimizer, optimizer.param_groups[0]["params"]


def copies(params: list[Tensor]) -> list[Tensor]:
    return [p.detach().clone() for p in params]


def all_equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one, other, strict=True))


def test_the_averages_are_there_within_and_gone_afterwards() -> None:
    optimizer, params = trained()
    before, averages = copies(params), optimizer.averaged_parameters()
    with optimizer.averaged():
        assert all_equal(params, averages)
        assert not all_equal(params, before)
    assert all_equal(params, before)


def test_the_training_weights_are_back_after_an_error() -> None:
    optimizer, params = trained()
    before = copies(params)
    with pytest.raises(ZeroDivisionError), optimizer.averaged():
        _ = 1 / 0
    assert all_equal(params, before)
    train(optimizer)  # and it steps again


def test_a_second_one_within_changes_nothing() -> None:
    optimizer, params = trained()
    before, averages = copies(params), optimizer.averaged_parameters()
    with optimizer.averaged():
        with optimizer.averaged():
            assert all_equal(params, averages)
        assert all_equal(params, averages)
        assert all_equal(optimizer.averaged_parameters(), averages)
    assert all_equal(params, before)


def test_a_step_within_is_refused() -> None:
    optimizer, params = trained()
    before = copies(params)
    with optimizer.averaged(), pytest.raises(RuntimeError, match=r"step\(\) within averaged\(\)"):
        optimizer.step()
    assert all_equal(params, before)


def test_training_goes_on_as_if_it_had_not_been_evaluated() -> None:
    one, params = trained()
    other, others = trained()
    with one.averaged():
        pass
    train(one)
    train(other)
    assert all_equal(params, others)


def test_nothing_happens_without_averages() -> None:
    optimizer, params = trained("AdamW")
    before = copies(params)
    with optimizer.averaged():
        assert all_equal(params, before)
        optimizer.step()
    assert not all_equal(params, before)


def test_before_the_first_step_the_weights_are_their_own() -> None:
    optimizer = optimizers.ScheduleFreeSGD(parameters())
    with optimizer.averaged():
        assert all_equal(optimizer.param_groups[0]["params"], list(parameters()))


def test_a_copy_made_within_may_be_trained() -> None:
    """Its weights are copies of the averages, and nothing swaps them back."""
    optimizer, _ = trained()
    with optimizer.averaged():
        twin = copy.deepcopy(optimizer)
    train(twin)
