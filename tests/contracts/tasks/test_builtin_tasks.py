"""What every built-in task promises: a fixed, stratified split, scaled on train alone."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from sweeps import Task
from sweeps.tasks import TASKS, load_factory


@pytest.fixture(params=TASKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def task(name: str) -> Task:
    return load_factory(name, Path())()


def rows(tensor: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in tensor.flatten(1).tolist()}


def test_the_splits_are_the_same_every_time_and_share_no_example(name: str, task: Task) -> None:
    again = load_factory(name, Path())()
    for part in ("train", "valid", "test"):
        for first, second in zip(getattr(task, part), getattr(again, part), strict=True):
            assert torch.equal(first, second)
    sizes = [len(part[0]) for part in (task.train, task.valid, task.test)]
    assert sizes[0] / sum(sizes) == pytest.approx(0.6, abs=0.01)
    assert sizes[1] == sizes[2]
    if name != "iris-mlp":  # two of the 150 flowers have the same measurements
        sets = [rows(part[0]) for part in (task.train, task.valid, task.test)]
        assert sets[0].isdisjoint(sets[1])
        assert sets[0].isdisjoint(sets[2])
        assert sets[1].isdisjoint(sets[2])


def test_classes_have_equal_shares_in_every_split(task: Task) -> None:
    if task.train[1].is_floating_point():
        assert "accuracy" not in task.metrics
        return
    shares = []
    for part in (task.train, task.valid, task.test):
        counts = torch.bincount(part[1]).double()
        shares.append(counts / counts.sum())
    assert (shares[0] - shares[1]).abs().max() < 0.01
    assert (shares[0] - shares[2]).abs().max() < 0.01


def test_features_are_scaled_by_the_training_examples(task: Task) -> None:
    x = task.train[0].double().flatten(1)
    assert x.mean(0).abs().max() < 1e-5
    deviation = x.std(0, correction=0)
    varying = deviation > 0
    assert (deviation[varying] - 1).abs().max() < 0.02
    assert task.valid[0].double().flatten(1).mean(0).abs().max() > 1e-3


def test_no_bias_stands_before_a_norm(task: Task) -> None:
    modules = [m for m in task.model().modules() if not list(m.children())]
    for module, following in itertools.pairwise(modules):
        if isinstance(following, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            assert getattr(module, "bias", None) is None


def test_the_factorys_arguments_change_the_model(name: str, task: Task) -> None:
    factory = load_factory(name, Path())
    size = sum(p.numel() for p in task.model().parameters())
    for argument, parameter in inspect.signature(factory).parameters.items():
        changed = factory(**{argument: parameter.default + 1})
        assert sum(p.numel() for p in changed.model().parameters()) > size


def test_each_model_is_fresh_and_follows_the_seed(task: Task) -> None:
    torch.manual_seed(1)
    first = list(task.model().parameters())
    second = list(task.model().parameters())
    torch.manual_seed(1)
    third = list(task.model().parameters())
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first, third, strict=True))
