"""What went wrong in lanes once: knobs, shared modules, attention, factories, idle lanes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lane_training import assert_equal, in_lanes, serially
from serial_training import ListFeed, config, task_of
from test_lanes_faults import Arming, Fault, Net, trials
from torch import Tensor, nn

from sweeps import Task
from sweeps.engines.base import Ending, Trial


def iris_with(model: Any, **changes: Any) -> Task:
    iris = task_of("iris-mlp")
    settings = {"train": iris.train, "valid": iris.valid, "loss": F.cross_entropy, **changes}
    return Task(model=model, **settings)


def test_the_first_trials_knobs_keep_their_digits() -> None:
    """1 - 1e-9 is 1 in float32, which Adam refuses."""
    hypers = {"lr": 0.01, "beta2": 1 - 1e-9}
    trial = Trial(0, config(hypers=hypers, batch_size=30), (1,))
    lanes = ListFeed(trial)
    in_lanes(task_of("iris-mlp"), lanes, 2)
    assert_equal(lanes, serially(task_of("iris-mlp"), ListFeed(trial)))


def test_a_module_under_two_names() -> None:
    def model() -> nn.Module:
        twice = nn.Linear(4, 4)
        return nn.Sequential(twice, nn.Tanh(), twice, nn.Tanh(), nn.Linear(4, 3))

    task, own = iris_with(model), [Trial(n, config(batch_size=30), (n,)) for n in range(3)]
    lanes = ListFeed(*own)
    assert in_lanes(task, lanes, 3) == []
    assert_equal(lanes, serially(task, ListFeed(*own)))


def test_attention_is_stacked_without_the_slow_way() -> None:
    """Warnings are errors here."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(1, 4)
            self.encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
            self.last = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.encoder(self.embed(x.unsqueeze(-1))).mean(1))

    own = [Trial(n, config(optimizer="sgd", batch_size=30), (n,)) for n in range(3)]
    task, lanes = iris_with(Attending), ListFeed(*own)
    assert in_lanes(task, lanes, 3) == []
    assert_equal(lanes, serially(task, ListFeed(*own)))


def test_a_factory_that_raises_while_lanes_are_taken_apart() -> None:
    """The step that ran out of memory may leave none for a new model; no trial may be lost."""
    fault, factory = Fault(2, torch.OutOfMemoryError), Fault(2, torch.OutOfMemoryError)

    def model() -> nn.Module:
        if fault.calls >= fault.at:
            factory.armed = True
            factory()
        return Net(fault)

    feed = Arming(fault, *trials())
    iris = task_of("iris-mlp")
    task = Task(model=model, train=iris.train, valid=iris.valid, loss=F.cross_entropy)
    in_lanes(task, feed, 4)
    assert len(feed.outcomes) == len(trials())
    assert not feed.trained


def test_an_idle_lane_is_nobodys_fault() -> None:
    """Weights of nobody are zeros, and so is their output; a metric may refuse that."""

    def spread(output: Tensor, _: Tensor) -> Tensor:
        if float(output.std()) == 0:
            raise ValueError("constant")
        return output.std()

    task = iris_with(lambda: nn.Linear(4, 3), metrics={"spread": spread})
    lanes = ListFeed(Trial(0, config(batch_size=30), (1,)))
    assert in_lanes(task, lanes, 3) == []
    assert [o.ending for o in lanes.outcomes] == [Ending.TRAINED]


class Counting(nn.Linear):
    """A model with a number of its own that moves as it trains."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(x) * (1 + 0.01 * self.steps)


class Jumping(nn.Linear):
    """A model that draws a random number of Python's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + random.random() * self.training)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Counting, "training changes the model's own 'steps'"),
        (Jumping, "training draws random numbers of Python or NumPy"),
    ],
)
def test_what_moves_beside_tensors_trains_one_by_one(model: type[nn.Module], reason: str) -> None:
    task, own = iris_with(lambda: model(4, 3)), [Trial(n, config(), (n,)) for n in range(3)]
    lanes = ListFeed(*own)
    assert in_lanes(task, lanes, 3) == [f"trials of this model train one by one: {reason}"]
    assert_equal(lanes, serially(task, ListFeed(*own)))


def test_a_product_that_is_changed_in_place_is_not_turned() -> None:
    class Doubling(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            h = x @ self.weight.t()
            h.t().mul_(2.0)
            return h

    task = iris_with(lambda: Doubling(4, 3, bias=False))
    own = [Trial(n, config(optimizer="sgd", hypers={"lr": 0.05}), (n,)) for n in range(3)]
    lanes = ListFeed(*own)
    in_lanes(task, lanes, 3)
    assert_equal(lanes, serially(task, ListFeed(*own)))


def test_memory_may_end_more_than_once() -> None:
    """8 lanes become two groups of 4, of which each is cut again; nobody is lost."""
    calls = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        len(torch.ones(1).nonzero())  # called at each step, not traced
        calls += torch.is_grad_enabled()
        if calls in (20, 30) and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("thrown in")
        return F.cross_entropy(output, target)

    own = [Trial(n, config(batch_size=30, epochs=8), (n,)) for n in range(8)]
    lanes = ListFeed(*own)
    said = in_lanes(iris_with(lambda: nn.Linear(4, 3), loss=loss), lanes, 8)
    assert sum("need more memory than there is" in line for line in said) == 2
    plain = iris_with(lambda: nn.Linear(4, 3))
    assert_equal(lanes, serially(plain, ListFeed(*own)))


def test_trials_behind_those_that_cannot_begin_are_taken() -> None:
    bad = [Trial(n, config(hypers={"lr": -1.0}), (n,)) for n in range(2)]
    good = [Trial(n, config(), (n,)) for n in (2, 3)]
    lanes = ListFeed(*bad, *good)
    in_lanes(task_of("iris-mlp"), lanes, 2)
    endings = {outcome.number: outcome.ending for outcome in lanes.outcomes}
    assert endings == dict(zip(range(4), [Ending.FAILED] * 2 + [Ending.TRAINED] * 2, strict=True))


def test_two_algorithms_that_become_one_keep_their_program() -> None:
    names = ["adamw", "sgd", "adamw", "adamw"]
    own = [
        Trial(n, config(optimizer=name, hypers={"lr": 0.01}, epochs=2 + n // 2), (n,))
        for n, name in enumerate(names)
    ]
    lanes = ListFeed(*own)
    assert in_lanes(task_of("iris-mlp"), lanes, 2) == []
    assert_equal(lanes, serially(task_of("iris-mlp"), ListFeed(*own)))
