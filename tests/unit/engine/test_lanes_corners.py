"""What went wrong in lanes once: knobs, shared modules, attention, factories, idle lanes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lane_training import assert_equal, in_lanes, serially
from serial_training import ListFeed, config, task_of
from test_lanes_faults import Arming, Fault, Net, trials
from torch import Tensor, nn

from sweeps import Task
from sweeps.engines.base import Ending, Trial


def iris_with(model, **changes) -> Task:
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
