"""What every built-in task promises: a fixed split, fresh models; tables are scaled on train."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest
import torch
from built_in import make_task
from torch import nn

from sweeps import Task
from sweeps.tasks import TASKS, load_factory

TABLES = ("digits-cnn", "digits-mlp", "exp-curve", "iris-mlp")
STEPS = {"depth": 6}  # by which an argument grows, where it is not one; a ResNet has 8, 14, ...


@pytest.fixture(params=TASKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def task(name: str, tmp_path: Path) -> Task:
    return make_task(name, tmp_path)


tables = pytest.mark.parametrize("name", TABLES)


def rows(tensor: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in tensor.flatten(1).tolist()}


def test_the_splits_are_the_same_every_time(name: str, task: Task, tmp_path: Path) -> None:
    again = make_task(name, tmp_path)
    for part in ("train", "valid", "test"):
        for first, second in zip(getattr(task, part), getattr(again, part), strict=True):
            assert torch.equal(first, second)


@tables
def test_the_splits_share_no_example(name: str, task: Task) -> None:
    sizes = [len(part[0]) for part in (task.train, task.valid, task.test)]
    assert sizes[0] / sum(sizes) == pytest.approx(0.6, abs=0.01)
    assert sizes[1] == sizes[2]
    if name != "iris-mlp":  # two of the 150 flowers have the same measurements
        sets = [rows(part[0]) for part in (task.train, task.valid, task.test)]
        assert sets[0].isdisjoint(sets[1])
        assert sets[0].isdisjoint(sets[2])
        assert sets[1].isdisjoint(sets[2])


@tables
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


@tables
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


def test_the_factorys_arguments_make_the_model_larger(
    name: str, task: Task, tmp_path: Path
) -> None:
    def size(task: Task) -> int:
        return sum(p.numel() for p in task.model().parameters())

    for argument, parameter in inspect.signature(load_factory(name, Path())).parameters.items():
        if argument in ("folder", "context") and name != "char-lm":
            continue  # what is read, not the model
        value = parameter.default + STEPS.get(argument, 1)
        assert size(make_task(name, tmp_path, **{argument: value})) > size(task)


def test_each_model_is_fresh_and_follows_the_seed(task: Task) -> None:
    torch.manual_seed(1)
    first = list(task.model().parameters())
    second = list(task.model().parameters())
    torch.manual_seed(1)
    third = list(task.model().parameters())
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first, third, strict=True))
