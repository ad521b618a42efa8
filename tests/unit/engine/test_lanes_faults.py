"""Faults thrown into lanes in training: the others end as if nothing had been.

`Script` refuses a trial that is lost or counted twice. Lanes that stay together keep every bit;
those that are taken apart train on as replicas, whose sums round otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lane_training import Script, assert_equal, in_lanes, without
from serial_training import ListFeed, config, task_of
from torch import Tensor, nn

from sweeps import Task
from sweeps.engines.base import Ending, Point, Tasks, Trial
from sweeps.tasks.data import accuracy

LANES, EPOCHS, STEPS = 4, 3, 3
AT_FAULT = 90
GROWTH = 1e4
LONGEST = {"epochs": EPOCHS, "batch_size": 90 // STEPS}
ROUNDING, SAME_BITS = 1e-9, 0.0
few = settings(
    max_examples=4, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
)
steps = st.integers(1, (EPOCHS - 1) * STEPS)


class Fault:
    """Raises once, at the call number `at` after the first epochs; before, models are tried out."""

    def __init__(self, at: int = 0, error: type[Exception] = RuntimeError) -> None:
        self.at, self.error = at, error
        self.armed, self.calls = False, 0

    def __call__(self) -> None:
        len(torch.ones(1).nonzero())  # known by its numbers only: steps are called, not traced
        self.calls += self.armed
        if self.armed and self.calls == self.at:
            raise self.error("thrown in")


class Arming(Script):
    """Arms a fault with its first report."""

    def __init__(self, fault: Fault, *trials: Trial) -> None:
        super().__init__(*trials)
        self._fault = fault

    def report(self, points: Sequence[Point]) -> set[int]:
        self._fault.armed = True
        return super().report(points)


class Net(nn.Module):
    """A model with BatchNorm and a fault in its training."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        first = nn.Linear(4, 5, bias=False)  # a bias before BatchNorm is moved by rounding
        self.layers = nn.Sequential(first, nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.fault()
        return self.layers(x)


def tasks(fault: Fault, **changes: Any) -> Tasks:
    """The task with the fault and the changes, and beside it (`cohort: 1`) one without."""
    iris = task_of("iris-mlp")
    settings = {"train": iris.train, "valid": iris.valid, "test": iris.test}
    quiet = Task(model=lambda: Net(Fault()), loss=F.cross_entropy, **settings)
    loud = replace(quiet, model=lambda: Net(fault), **changes)
    return lambda task_args: quiet if task_args else loud


def trials() -> list[Trial]:
    """More trials than lanes, so that who ends is replaced; every fourth in another cohort."""
    chosen = [
        config(
            optimizer=["adamw", "schedule_free_sgd", "lion"][n % 3],
            schedule=["constant", "cosine", "plateau"][n // 3 % 3],
            average=["none", "swa"][n % 2],
            hypers={"lr": 0.01},
            **LONGEST | {"epochs": 1 + n % EPOCHS},
            task_args={"cohort": 1} if n % 4 == 3 else {},
        )
        for n in range(7)
    ]
    return [Trial(n, each, (n,)) for n, each in enumerate(chosen)]


def runaway(growth: float) -> Trial:
    """A trial whose weights grow by this factor at each update; gradients are nothing to it."""
    hypers = {"lr": growth**0.5, "weight_decay": growth**0.5}
    return Trial(AT_FAULT, config(optimizer="sgdw", hypers=hypers, **LONGEST), (7,))


def train(*more: Trial, at: int = 1, fault: Fault | None = None, **changes: Any) -> Script:
    """Train all trials, and more in between; none is lost. The model has the fault, or a change."""
    fault = fault or Fault()
    own = trials()
    feed = Arming(fault, *own[:at], *more, *own[at:])
    in_lanes(tasks(Fault() if changes else fault, **changes), feed, LANES)
    assert len(feed.outcomes) == len(own) + len(more)
    assert fault.calls >= fault.at
    return feed


@pytest.fixture(scope="module")
def unharmed() -> Script:
    return train()


def split(feed: ListFeed) -> tuple[ListFeed, ListFeed]:
    """The trials beside the fault's lanes, and those of the quiet cohort."""
    quiet = [trial.number for trial in trials() if trial.config.task_args]
    loud = [trial.number for trial in trials() if not trial.config.task_args]
    return without(feed, *quiet), without(feed, *loud)


def assert_others_equal(found: ListFeed, wanted: ListFeed, tolerance: float) -> None:
    """Those beside the fault are equal to the tolerance, the quiet cohort bit for bit."""
    for own, other, within in zip(split(found), split(wanted), (tolerance, SAME_BITS), strict=True):
        assert_equal(own, other, within)


@few
@given(place=st.integers(0, LANES - 1), growth=st.sampled_from([1e12, 1e76]))
def test_a_lane_that_diverges(unharmed: Script, place: int, growth: float) -> None:
    """In any place; another trial has its lane when it is gone."""
    found = train(runaway(growth), at=place)
    assert ending(found) is (Ending.DIVERGED if growth > 1e70 else Ending.TRAINED)
    assert_others_equal(without(found, AT_FAULT), unharmed, SAME_BITS)


@few
@given(at=steps, error=st.sampled_from([torch.OutOfMemoryError, ValueError]))
def test_a_step_that_raises_once_ends_nobody(
    unharmed: Script, at: int, error: type[Exception]
) -> None:
    """In the model's forward pass, also that of BatchNorm's statistics under an average."""
    assert_others_equal(train(fault=Fault(at, error)), unharmed, ROUNDING)


@pytest.mark.parametrize(("bad_calls", "in_lanes_at"), [({2}, [1, 3, 4, 5]), ({2, 3, 4, 5}, [1])])
def test_trials_that_were_taken_apart_have_lanes_again(
    bad_calls: set[int], in_lanes_at: list[int]
) -> None:
    """One fault costs one epoch; a program that goes on to fail is given up."""
    epoch, stacked, broken = 1, list[int](), set[int]()

    class Counting(Script):
        def report(self, points: Sequence[Point]) -> set[int]:
            nonlocal epoch
            epoch += 1
            return super().report(points)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if torch._C._functorch.is_batchedtensor(output) and torch.is_grad_enabled():
            stacked.append(epoch)
            if epoch in bad_calls - broken:
                broken.add(epoch)
                raise RuntimeError("thrown in")
        return F.cross_entropy(output, target * len(torch.ones(1).nonzero()))

    feed = Counting(*(Trial(n, config(**{**LONGEST, "epochs": 5}), (n,)) for n in range(3)))
    in_lanes(replace(task_of("iris-mlp"), loss=loss), feed, 4)
    assert [outcome.ending for outcome in feed.outcomes] == [Ending.TRAINED] * 3
    steps_at = {at: stacked.count(at) for at in range(1, 6)}
    assert [at for at, count in steps_at.items() if count >= STEPS] == in_lanes_at
    assert len(broken) == min(len(bad_calls), 3)


@few
@given(step=steps)
def test_a_metric_that_raises_for_one_trial(unharmed: Script, step: int) -> None:
    """A metric of a number, so that it is asked lane by lane."""
    metrics = {"accuracy": accuracy, "careful": careful(GROWTH ** (step - 0.5))}
    found = train(runaway(GROWTH), metrics=metrics)
    assert ending(found) is Ending.FAILED
    assert_others_equal(plain(found), unharmed, ROUNDING)


@few
@given(step=steps, at=steps)
def test_a_loss_that_raises_for_one_trial(unharmed: Script, step: int, at: int) -> None:
    """Within the lanes a loss sees no numbers: at one step it raises for all, alone for one."""
    fault = Fault(at, ValueError)
    check = careful(GROWTH ** (step - 0.5))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled():  # in training
            fault()
        if not torch._C._functorch.is_batchedtensor(output):
            check(output, target)
        return F.cross_entropy(output, target)

    found = train(runaway(GROWTH), fault=fault, loss=loss)
    assert ending(found) is Ending.FAILED
    assert_others_equal(without(found, AT_FAULT), unharmed, ROUNDING)


def test_a_metric_of_the_test_data_that_raises_for_one_trial() -> None:
    """Schedule-Free's statistics are those of the last epoch's batches, also when worked out anew.

    The trial at fault ends with others.
    """
    x, y = task_of("iris-mlp").test
    metrics = {"accuracy": accuracy, "careful": careful(1e6, only=len(x) - 1)}
    shorter = {"test": (x[1:], y[1:])}
    wanted = train(**shorter)
    found = train(runaway(GROWTH), metrics=metrics, **shorter)
    assert ending(found) is Ending.FAILED
    assert_others_equal(plain(found), wanted, ROUNDING)


def ending(feed: Script) -> Ending:
    """Return how the trial at fault ended."""
    return next(o.ending for o in feed.outcomes if o.number == AT_FAULT)


def careful(limit: float, only: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a metric that raises where the output is large, of `only` so many examples."""

    def metric(output: Tensor, _: Tensor) -> Tensor:
        if float(output.detach().abs().max()) > limit and only in (None, len(output)):
            raise ValueError("too far")
        return output.mean()

    return metric


def plain(feed: Script) -> ListFeed:
    """The trials that are not at fault, without the metric that is only here."""
    rest = without(feed, AT_FAULT)

    def less(values: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in values.items() if "careful" not in name}

    rest.points = [replace(point, values=less(point.values)) for point in rest.points]
    rest.outcomes = [replace(outcome, test=less(outcome.test)) for outcome in rest.outcomes]
    return rest
