"""Trials in lanes: the same curves as one by one, in any company, after any refill and failure."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lane_training import Offered, assert_equal, in_lanes, mixed, serially, without
from serial_training import ListFeed, config, task_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from sweeps import Task
from sweeps.engines.base import Ending, Trial


@pytest.mark.parametrize("name", ["iris-mlp", "exp-curve", "digits-cnn"])
def test_the_curves_are_those_of_one_by_one(name: str) -> None:
    task, count = task_of(name), 4 if name == "digits-cnn" else 12
    lanes = ListFeed(*mixed(count))
    assert in_lanes(task, lanes, 5) == []
    assert_equal(lanes, serially(task, ListFeed(*mixed(count))))


def test_company_and_places_do_not_matter() -> None:
    task, trials = task_of("iris-mlp"), mixed(10)
    alone = ListFeed(*trials)
    in_lanes(task, alone, 1)
    other = ListFeed(*reversed(trials))
    in_lanes(task, other, 7)
    assert_equal(other, alone)


def test_repeats_have_lanes_of_their_own_and_are_averaged() -> None:
    task = task_of("iris-mlp")
    trials = [Trial(n, each.config, (n, n + 50)) for n, each in enumerate(mixed(5))]
    lanes = ListFeed(*trials)
    in_lanes(task, lanes, 4)
    assert_equal(lanes, serially(task, ListFeed(*trials)))


def test_a_trial_that_is_stopped_or_diverges_leaves_the_others_alone() -> None:
    task, trials = task_of("iris-mlp"), mixed(6)
    wild = config(optimizer="sgd", hypers={"lr": 1e30}, epochs=5, batch_size=32)
    trials.insert(2, Trial(90, wild, (7,)))
    lanes = ListFeed(*trials, stop_at=4)
    in_lanes(task, lanes, 4)
    assert_equal(lanes, serially(task, ListFeed(*trials, stop_at=4)))
    assert {o.ending for o in lanes.outcomes} == {Ending.STOPPED, Ending.TRAINED, Ending.DIVERGED}


@pytest.mark.parametrize("first", ["serial", "lanes"])
def test_a_trial_goes_on_in_the_other_engine(first: str) -> None:
    task, trials = task_of("digits-cnn"), mixed(5, task_args={"channels": 2}, epochs=4)
    whole = Offered(*trials, at=2)
    if first == "serial":
        serially(task, whole)
    else:
        in_lanes(task, whole, 5)
    rest = ListFeed(*[Trial(t.number, t.config, t.seeds, whole.states[t.number]) for t in trials])
    if first == "serial":
        in_lanes(task, rest, 3)
    else:
        serially(task, rest)
    whole.points = [point for point in whole.points if point.epoch > 2]
    assert len(whole.points) == 10
    assert_equal(rest, whole)


def test_a_knob_left_out_has_the_default_of_its_switches() -> None:
    task, switches = task_of("iris-mlp"), {"decay": "independent"}
    trial = Trial(0, config(hypers={"lr": 0.01}, switches=switches, batch_size=32), (1,))
    lanes = ListFeed(trial)
    in_lanes(task, lanes, 1)
    assert_equal(lanes, serially(task, ListFeed(trial)))


def test_statistics_of_an_average_are_of_the_epochs_batches_as_a_loader_drew_them() -> None:
    iris = task_of("iris-mlp")
    task = Task(
        model=lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)),
        train=DataLoader(TensorDataset(*iris.train), 16, shuffle=True, drop_last=True),
        valid=iris.valid,
        loss=F.cross_entropy,
    )
    trials = [Trial(n, config(average="ema", batch_size=16), (n,)) for n in range(2)]
    lanes = ListFeed(*trials)
    in_lanes(task, lanes, 2)
    assert_equal(lanes, serially(task, ListFeed(*trials)))


def test_a_sampler_that_draws_as_it_goes_draws_the_same_in_company() -> None:
    """From a generator of its own, which all lanes share."""
    iris = task_of("iris-mlp")
    data = TensorDataset(*iris.train)
    sampler = RandomSampler(data, replacement=True, generator=torch.Generator())
    loader = DataLoader(data, 10, sampler=sampler)
    model = partial(nn.Linear, 4, 3)
    task = Task(model=model, train=loader, valid=iris.valid, loss=F.cross_entropy)
    trials = [Trial(n, config(batch_size=10), (n,)) for n in range(2)]
    lanes = ListFeed(*trials)
    in_lanes(task, lanes, 2)
    assert_equal(lanes, serially(task, ListFeed(*trials)))


class Branching(nn.Module):
    """A model that looks at its numbers, which vmap refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x if x.sum() > 0 else -x)


def test_what_cannot_be_stacked_trains_one_by_one_and_says_so() -> None:
    iris = task_of("iris-mlp")
    task = Task(model=Branching, train=iris.train, valid=iris.valid, loss=F.cross_entropy)
    lanes = ListFeed(*mixed(4))
    (said,) = in_lanes(task, lanes, 4)
    assert said.startswith("trials of this model train one by one: torch.vmap: ")
    assert_equal(lanes, serially(task, ListFeed(*mixed(4))))


def test_an_optimizer_of_another_library_trains_beside_the_lanes() -> None:
    task, trials = task_of("iris-mlp"), mixed(4)
    other = config(optimizer="torch.optim.Adamax", hypers={"lr": 0.01}, epochs=3, batch_size=32)
    trials.insert(1, Trial(50, other, (3,)))
    lanes = ListFeed(*trials)
    assert in_lanes(task, lanes, 5) == []
    assert_equal(lanes, serially(task, ListFeed(*trials)))


def test_a_batch_that_fails_ends_only_the_trial_at_fault() -> None:
    """The fault depends on the model's weights, so that one of the lanes meets it."""
    iris = task_of("iris-mlp")

    def careful(output: Tensor, target: Tensor) -> Tensor:
        if not torch._C._functorch.is_batchedtensor(output) and output.abs().max() > 1e6:
            raise ValueError("too far")
        return F.cross_entropy(output, target)

    def spread(output: Tensor, _: Tensor) -> Tensor:
        if float(output.abs().max()) > 1e6:  # a number: asked lane by lane
            raise ValueError("too far")
        return output.abs().max()

    task = Task(
        model=iris.model,
        train=iris.train,
        valid=iris.valid,
        loss=careful,
        metrics={"spread": spread},
    )
    wild = config(optimizer="sgd", hypers={"lr": 1e4}, epochs=4, batch_size=32)
    trials = mixed(5)
    lanes = ListFeed(*trials[:2], Trial(60, wild, (1,)), *trials[2:])
    said = in_lanes(task, lanes, 6)
    assert any(line.endswith("go on one by one: ValueError: too far") for line in said)
    (failed,) = [o for o in lanes.outcomes if o.ending is Ending.FAILED]
    assert (failed.number, failed.error) == (60, "ValueError: too far")
    assert_equal(without(lanes, 60), serially(task, ListFeed(*trials)))


def test_a_test_that_fails_ends_only_the_trial_at_fault() -> None:
    """The wild trial's output is large, and its model raises on the one test example."""
    iris = task_of("iris-mlp")

    def careful(output: Tensor, _: Tensor) -> Tensor:
        if len(output) == 1 and float(output.abs().max()) > 1e3:
            raise ValueError("too far")
        return output.abs().max()

    settings = {"train": iris.train, "valid": iris.valid, "metrics": {"careful": careful}}
    test = tuple(tensor[:1] for tensor in iris.valid)
    task = Task(model=iris.model, loss=F.cross_entropy, test=test, **settings)
    wild = config(optimizer="sgd", hypers={"lr": 1e3}, epochs=3, batch_size=32)
    trials = mixed(4, epochs=3)
    lanes = ListFeed(*trials[:2], Trial(60, wild, (1,)), *trials[2:])
    in_lanes(task, lanes, 5)
    (failed,) = [o for o in lanes.outcomes if o.ending is Ending.FAILED]
    assert (failed.number, failed.error) == (60, "ValueError: too far")
    assert_equal(without(lanes, 60), serially(task, ListFeed(*trials)))


def test_float32_and_bfloat16_are_equal_to_rounding() -> None:
    task = task_of("iris-mlp")
    for precision, tolerance in (("float32", 2e-3), ("bf16", 0.1)):
        lanes, serial = ListFeed(*mixed(2, epochs=3)), ListFeed(*mixed(2, epochs=3))
        in_lanes(task, lanes, 2, precision)
        serially(task, serial, precision)
        assert lanes.curve("train/loss") == pytest.approx(serial.curve("train/loss"), rel=tolerance)
