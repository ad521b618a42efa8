"""The engine of functions that train by themselves: the handle, the reports, how trials end."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serial_training import ListFeed, config, task_of, train
from torch import nn

from sweeps import TrialHandle
from sweeps.config import Config
from sweeps.engines.base import Ending, Objective, Outcome, Point, Trial
from sweeps.engines.function import FunctionEngine
from sweeps.tasks.data import epoch_seed, seed_everything
from sweeps.tasks.opening import open_split

LOSS = "valid/loss"
NAN = math.nan


def call(
    function: Callable[..., object],
    folder: Path,
    *,
    metric: str = LOSS,
    feed: ListFeed | None = None,
    **changes: object,
) -> ListFeed:
    """Train trial 0 by `function`, or the trials of `feed`; return the feed."""
    made = feed or ListFeed(Trial(0, config(**changes), (7,)))
    objective = Objective(metric, maximize=False)
    engine = FunctionEngine(function, "cpu", objective, folder)
    engine.run(lambda _: pytest.fail("a function needs no task"), made)
    return made


def reporting(*losses: float, returns: object = None) -> Callable[[TrialHandle], object]:
    def function(trial: TrialHandle) -> object:
        for loss in losses:
            if trial.report({LOSS: loss}):
                return None
        return returns

    return function


def by_itself(trial: TrialHandle, losses: dict[str, list[float]]) -> None:
    """The serial engine's loop on iris, written by its user."""
    task = task_of("iris-mlp")
    cpu = torch.device("cpu")
    data = open_split("train", task.train, device=cpu, dtype=torch.float32)
    (x,), y = next(iter(open_split("valid", task.valid, device=cpu, dtype=torch.float32).ordered()))
    model = task.model()
    optimizer = trial.optimizer(model)
    schedule = trial.schedule(optimizer, steps=trial.epochs * data.steps(trial.batch_size))
    for epoch in range(1, trial.epochs + 1):
        seed_everything(epoch_seed(trial.seed, epoch))
        for (inputs,), target in data.shuffled(trial.batch_size, epoch_seed(trial.seed, epoch)):
            optimizer.zero_grad()
            task.loss(model(inputs), target).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            trial.report({LOSS: task.loss(model(x), y)})
        losses["lr"].append(optimizer.param_groups[0]["lr"])


CONFIGS = {
    "warmup": config(schedule="cosine", schedule_hypers={"warmup_fraction": 0.3}, epochs=4),
    "nesterov": config(
        optimizer="sgd",
        hypers={"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        switches={"nesterov": True},
        schedule="one_cycle",
        epochs=3,
    ),
    "decoupled decay": config(
        optimizer="adam", hypers={"lr": 0.05, "weight_decay": 0.3}, switches={"decay": "decoupled"}
    ),
    "feedback": config(
        optimizer="sgd",
        hypers={"lr": 20.0},
        schedule="plateau",
        schedule_hypers={"patience": 0, "factor": 0.5},
        epochs=8,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_loop_with_the_handle_is_the_serial_engines(name: str, tmp_path: Path) -> None:
    chosen = CONFIGS[name]
    expected = train(task_of("iris-mlp"), Trial(0, chosen, (7,)))
    seen: dict[str, list[float]] = {"lr": []}
    feed = ListFeed(Trial(0, chosen, (7,)))
    call(lambda trial: by_itself(trial, seen), tmp_path, feed=feed)
    assert feed.curve(LOSS) == pytest.approx(expected.curve(LOSS), rel=1e-6)
    assert feed.outcomes[0].ending is Ending.TRAINED
    assert feed.outcomes[0].epochs == chosen.epochs
    if name == "feedback":
        assert min(seen["lr"]) < 20.0  # the metric was too bad, and the schedule heard of it


def test_the_handle_has_the_trials_values(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def function(trial: TrialHandle, hidden: int, names: list[str]) -> float:
        seen.update(vars(trial), folder=trial.folder, hidden=hidden, names=names)
        with pytest.raises(TypeError):
            trial.params["lr"] = 3.0  # type: ignore[index]
        return 1.0

    chosen = config(
        hypers={"lr": 0.01, "beta1": 0.8}, task_args={"hidden": 9, "names": ["a"]}, batch_size=12
    )
    call(function, tmp_path / "of study", feed=ListFeed(Trial(4, chosen, (31, 32))))
    assert seen["params"] == {
        "optimizer": "adamw",
        "lr": 0.01,
        "beta1": 0.8,
        "schedule": "constant",
        "average": "none",
        "epochs": 3,
        "batch_size": 12,
        "hidden": 9,
        "names": '["a"]',
    }
    values = ("number", "seed", "epochs", "batch_size", "device", "hidden", "names")
    assert [seen[name] for name in values] == [4, 31, 3, 12, torch.device("cpu"), 9, ["a"]]
    assert seen["folder"] == tmp_path / "of study" / "4"
    assert seen["folder"].is_dir()


def test_everything_random_comes_from_the_trials_seed(tmp_path: Path) -> None:
    drawn: list[tuple[float, ...]] = []

    def function(_: TrialHandle) -> float:
        drawn.append((torch.rand(1).item(), random.random(), np.random.random()))
        return 1.0

    for seed in (7, 8, 7):
        call(function, tmp_path, feed=ListFeed(Trial(0, config(), (seed,))))
    assert drawn[0] == drawn[2] != drawn[1]


def test_an_optimizer_takes_a_model_its_parameters_or_groups(tmp_path: Path) -> None:
    groups: list[list[tuple[int, float]]] = []

    def function(trial: TrialHandle) -> float:
        model = nn.Linear(2, 3)
        named = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}]
        for given in (model, model.parameters(), named):
            optimizer = trial.optimizer(given)
            groups.append([(len(g["params"]), g["lr"]) for g in optimizer.param_groups])
        return 1.0

    call(function, tmp_path)
    assert groups == [[(2, 0.01)], [(2, 0.01)], [(1, 0.01), (1, 0.5)]]


def test_steps_are_counted(tmp_path: Path) -> None:
    def function(trial: TrialHandle) -> float:
        weight = nn.Parameter(torch.ones(1))
        optimizer = trial.optimizer([weight])
        for _ in range(5):
            weight.sum().backward()
            optimizer.step()
        return 1.0

    engine = FunctionEngine(function, "cpu", Objective(LOSS, maximize=False), tmp_path)
    engine.run(lambda _: pytest.fail("no task"), ListFeed(Trial(0, config(batch_size=8), (1,))))
    reading = engine.tally.read()
    assert (reading.steps, reading.examples, reading.models) == (5, 40, 1)


def test_reports_with_the_metric_are_numbered_and_take_the_others_along(tmp_path: Path) -> None:
    answers: list[bool] = []

    def function(trial: TrialHandle) -> None:
        answers.append(trial.report(train_loss=torch.tensor(3.0, requires_grad=True), step=10))
        answers.append(trial.report({"train_loss": np.float32(2.5)}))
        answers.append(trial.report({LOSS: 2}, f1=NAN, step=20))
        answers.append(trial.report({LOSS: 1.5, "f1": 0.5}))
        answers.append(trial.report(late=1.0))

    feed = call(function, tmp_path)
    assert answers == [False] * 5
    assert [point.epoch for point in feed.points] == [1, 2]
    first, second = (point.values for point in feed.points)
    f1 = first["f1"]
    assert first == {"train_loss": 2.5, "step": 20.0, LOSS: 2.0, "f1": f1}
    assert math.isnan(f1)  # data like any other
    assert second == {LOSS: 1.5, "f1": 0.5}
    assert all(type(value) is float for value in (*first.values(), *second.values()))
    assert not any(point.diverged or point.state for point in feed.points)
    assert (feed.outcomes[0].ending, feed.outcomes[0].epochs) == (Ending.TRAINED, 2)


@pytest.mark.parametrize(
    ("returned", "curve", "test"),
    [
        (None, [3.0, 2.0], {}),
        (2.0, [3.0, 2.0], {}),  # the last value again
        (1.0, [3.0, 2.0, 1.0], {}),
        (torch.tensor(1.0), [3.0, 2.0, 1.0], {}),
        (
            {"accuracy": 0.9, "test/loss": np.float64(0.5)},
            [3.0, 2.0],
            {"test/accuracy": 0.9, "test/loss": 0.5},
        ),
    ],
)
def test_what_a_function_returns(
    returned: object, curve: list[float], test: Mapping[str, float], tmp_path: Path
) -> None:
    feed = call(reporting(3.0, 2.0, returns=returned), tmp_path)
    assert feed.curve(LOSS) == curve
    outcome = feed.outcomes[0]
    assert (outcome.ending, outcome.test, outcome.epochs) == (Ending.TRAINED, test, len(curve))


def test_a_number_may_be_all_that_it_says(tmp_path: Path) -> None:
    feed = call(lambda trial: trial.params["lr"], tmp_path, metric="score")
    assert [(point.epoch, dict(point.values)) for point in feed.points] == [(1, {"score": 0.01})]
    assert feed.outcomes[0].ending is Ending.TRAINED
    nobody_stops = call(lambda _: 1.0, tmp_path, feed=ListFeed(Trial(0, config(), (7,)), stop_at=1))
    assert nobody_stops.outcomes[0].ending is Ending.TRAINED


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            lambda _: None,
            "ValueError: the function returned without a value of the sweep's metric 'valid/loss'. "
            "Report it: trial.report({'valid/loss': value}), or return a number",
        ),
        (
            lambda trial: trial.report({"valid_loss": 1.0, "acc": 0.5}) or None,
            "'valid/loss'; did you mean 'valid_loss'? It reported: valid_loss, acc. Report it",
        ),
        (
            lambda _: {"accuracy": 1.0},
            "ValueError: the function returned without a value of the sweep's metric",
        ),
        (
            reporting(1.0, returns=True),
            "TypeError: the function returned True; it may return nothing, a number (the last "
            "value of the metric) or a mapping of test metrics",
        ),
        (
            reporting(1.0, returns={"accuracy": "high"}),
            "TypeError: the metric 'accuracy' is 'high'; give a number, or a tensor of one",
        ),
        (
            lambda trial: trial.report({LOSS: torch.ones(2)}),
            "TypeError: the metric 'valid/loss' is tensor([1., 1.]); give a number",
        ),
        (
            lambda trial: trial.report({"a\nb": 1.0}),
            "ValueError: the metric's name 'a\\nb' is not text of 1 to 200 printable characters",
        ),
        (lambda _: [][1], "IndexError: list index out of range"),
        (lambda _: exit(3), "SystemExit: 3"),
    ],
)
def test_a_failure_keeps_its_cause_and_the_next_trial_trains(
    function: Callable[[TrialHandle], object], expected: str, tmp_path: Path
) -> None:
    feed = ListFeed(*(Trial(number, config(), (7,)) for number in (0, 1)))
    call(lambda trial: 1.0 if trial.number else function(trial), tmp_path, feed=feed)
    failed, trained = feed.outcomes
    assert failed.ending is Ending.FAILED
    assert expected in (failed.error or "")
    assert "Traceback (most recent call last)" in (failed.traceback or "")
    assert trained.ending is Ending.TRAINED


@pytest.mark.parametrize(
    ("values", "step", "points"),
    [
        ([{LOSS: 1.0}, {LOSS: math.inf}], 2, 2),
        ([{LOSS: 1.0, "step": 50}, {LOSS: NAN, "step": 100}], 100, 2),
        ([{LOSS: 1.0}, {"train_loss": NAN, "step": 60}], 60, 1),  # before the metric is known
        ([{LOSS: 1.0, "train/loss": NAN}], 1, 1),
    ],
)
def test_what_is_not_finite_has_diverged(
    values: list[dict[str, float]], step: int, points: int, tmp_path: Path
) -> None:
    answers: list[bool] = []

    def function(trial: TrialHandle) -> object:
        answers.extend(trial.report(each) for each in values)
        answers.append(trial.report({LOSS: 0.5}))  # it goes on, and is heard no more
        raise RuntimeError("of what it has become")

    feed = call(function, tmp_path)
    assert answers == [False] * (len(values) - 1) + [True, True]
    assert len(feed.points) == points
    outcome = feed.outcomes[0]
    assert (outcome.ending, outcome.step, outcome.error) == (Ending.DIVERGED, step, None)


def test_a_returned_number_may_have_diverged(tmp_path: Path) -> None:
    feed = call(lambda _: NAN, tmp_path)
    assert feed.outcomes[0].ending is Ending.DIVERGED
    assert feed.points[0].diverged


def test_it_is_told_to_stop_and_again_until_it_returns(tmp_path: Path) -> None:
    answers: list[bool] = []

    def function(trial: TrialHandle) -> dict[str, float]:
        answers.extend(trial.report({LOSS: 1.0 / epoch}) for epoch in range(1, 5))
        return {"accuracy": 1.0}

    feed = call(function, tmp_path, feed=ListFeed(Trial(0, config(epochs=3), (7,)), stop_at=2))
    assert answers == [False, True, True, True]
    assert feed.curve(LOSS) == [1.0, 0.5]
    outcome = feed.outcomes[0]
    assert (outcome.ending, outcome.epochs, outcome.test) == (Ending.STOPPED, 2, {})


def test_a_stop_at_the_last_epoch_comes_too_late(tmp_path: Path) -> None:
    feed = ListFeed(Trial(0, config(epochs=2), (7,)), stop_at=2)
    call(reporting(2.0, 1.0, 0.5, returns={"accuracy": 1.0}), tmp_path, feed=feed)
    assert feed.curve(LOSS) == [2.0, 1.0, 0.5]  # one more than its epochs: nobody minds
    assert feed.outcomes[0].ending is Ending.TRAINED
    assert feed.outcomes[0].test == {"test/accuracy": 1.0}


def leaving() -> ListFeed:
    return ListFeed(Trial(0, config(), (7,)), leaving=True)


def test_while_the_worker_leaves_any_report_says_stop(tmp_path: Path) -> None:
    def function(trial: TrialHandle) -> None:
        assert trial.report(train_loss=1.0)

    feed = call(function, tmp_path, feed=leaving())
    assert [outcome.ending for outcome in feed.outcomes] == [Ending.STOPPED]


def test_an_error_while_the_worker_leaves_is_no_failure(tmp_path: Path) -> None:
    """Lightning answers SIGTERM by a SystemExit at the next batch."""

    def function(_: TrialHandle) -> None:
        raise SystemExit

    feed = call(function, tmp_path, feed=leaving())
    assert [outcome.ending for outcome in feed.outcomes] == [Ending.STOPPED]
    ended = call(reporting(1.0, returns=0.5), tmp_path, feed=leaving())
    assert ended.outcomes[0].ending is Ending.TRAINED


def test_an_error_of_a_trial_that_was_told_to_stop_is_no_failure(tmp_path: Path) -> None:
    """It may leave a loop within a loop so."""

    def function(trial: TrialHandle) -> None:
        if trial.report({LOSS: 1.0}):
            raise StopIteration

    feed = call(function, tmp_path, feed=ListFeed(Trial(0, config(), (7,)), stop_at=1))
    assert [outcome.ending for outcome in feed.outcomes] == [Ending.STOPPED]
    assert feed.outcomes[0].error is None


class Broken(ListFeed):
    def report(self, points: Sequence[Point]) -> set[int]:
        raise OSError("the study DB is gone")


@pytest.mark.parametrize("swallowed", [True, False])
def test_the_sweeps_own_error_is_not_the_trials(swallowed: bool, tmp_path: Path) -> None:
    def function(trial: TrialHandle) -> float:
        try:
            trial.report({LOSS: 1.0})
        except OSError:
            if not swallowed:
                raise ValueError("I know better") from None
        return 2.0

    feed = Broken(Trial(0, config(), (7,)))
    with pytest.raises(OSError, match="the study DB is gone"):
        call(function, tmp_path, feed=feed)
    assert feed.outcomes == []


class Slow(ListFeed):
    def report(self, points: Sequence[Point]) -> set[int]:
        time.sleep(0.2)
        return super().report(points)


def test_seconds_are_those_of_the_function(tmp_path: Path) -> None:
    def function(trial: TrialHandle) -> None:
        for _ in range(2):
            time.sleep(0.05)
            trial.report({LOSS: 1.0})

    feed = call(function, tmp_path, feed=Slow(Trial(0, config(), (7,))))
    outcome: Outcome = feed.outcomes[0]
    assert 0.1 <= outcome.seconds < 0.3
    assert outcome.device_seconds >= 0.5
    assert feed.points[0].seconds == pytest.approx(0.05, abs=0.04)


def test_a_configuration_without_a_schedule_of_feedback_is_not_moved(tmp_path: Path) -> None:
    """A loop that changes the rate itself keeps what it has set."""
    rates: list[float] = []

    def function(trial: TrialHandle) -> None:
        optimizer = trial.optimizer(nn.Linear(1, 1))
        trial.schedule(optimizer, steps=10)
        optimizer.param_groups[0]["lr"] = 0.7
        trial.report({LOSS: 1.0})
        rates.append(optimizer.param_groups[0]["lr"])

    chosen: Config = config(schedule="cosine")
    call(function, tmp_path, feed=ListFeed(Trial(0, chosen, (1,))))
    assert rates == [0.7]


@pytest.mark.parametrize(("stop", "stopped"), [(3, False), (10, True)])
def test_a_stop_beyond_the_last_epoch_is_a_stop(stop: int, stopped: bool, tmp_path: Path) -> None:
    class Feed(ListFeed):
        def report(self, points: Sequence[Point]) -> set[int]:
            super().report(points)
            return {point.number for point in points if point.epoch == stop}

    feed = Feed(Trial(0, config(epochs=3), (7,)))
    call(reporting(*(1 / n for n in range(1, 60))), tmp_path, feed=feed)
    assert (feed.outcomes[0].ending is Ending.STOPPED) is stopped
