"""The feed on real databases: budgets, outcomes, hand-backs, what is written where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from studies import StudyStorage, SweeplaneError, UserError, queries
from sweeps.engines.base import Ending, Outcome, Point, Trial
from sweeps.launch import OpenSweep, open_sweep
from sweeps.plan import plan
from sweeps.sampling import make_sampler
from sweeps.spec import load_spec
from sweeps.worker import Worker
from tests.integration.studies.databases import hand_all_back

SPEC = """
name: feed
task: iris-mlp
method: random
optimizer: [adamw, sgd]
schedule: cosine
epochs: 10
run_cap: 6
early_terminate: none
"""


@pytest.fixture
def opened(database_url: str, tmp_path: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    stack = ExitStack()

    def make(text: str = SPEC) -> SimpleNamespace:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        sweep = open_sweep(load_spec(path, {"device": "cpu"}), database_url, "feed")
        stack.enter_context(sweep.storage)
        plan(sweep)
        worker = stack.enter_context(Worker(sweep))
        return SimpleNamespace(sweep=sweep, feed=worker._feed, progress=worker.progress)

    with stack:
        yield make


def point(trial: Trial, epoch: int, loss: float, **more: float) -> Point:
    values = {"train/loss": loss, "valid/loss": loss, "valid/accuracy": 0.5, **more}
    return Point(trial.number, epoch, values, seconds=0.1 * epoch)


def end(trial: Trial, ending: Ending, epochs: int = 1, **more: Any) -> Outcome:
    return Outcome(trial.number, ending, epochs, 0.1 * epochs, 0.2 * epochs, **more)


def play(feed: Any, trial: Trial, losses: list[float]) -> None:
    """Train a trial with given losses: the engine's part, told to the feed."""
    for epoch, loss in enumerate(losses, start=1):
        if trial.number in feed.report([point(trial, epoch, loss)]):
            feed.finish([end(trial, Ending.STOPPED, epoch)])
            return
    feed.finish([end(trial, Ending.TRAINED, len(losses), test={"test/loss": losses[-1]})])


def states(sweep: OpenSweep) -> list[str]:
    return [t.state.name for t in sweep.study.get_trials(deepcopy=False)]


def test_the_budget_counts_every_finished_trial_once(opened: Callable[..., Any]) -> None:
    made = opened()
    endings = [Ending.TRAINED, Ending.DIVERGED, Ending.FAILED, Ending.TRAINED]
    count = 0
    while taken := made.feed.take(1):
        ending = endings[count % 4]
        made.feed.report([point(taken[0], 1, 1.0 + count)])
        made.feed.finish([end(taken[0], ending, step=3, error="ValueError: x")])
        count += 1
    counts = queries.status(made.sweep.storage, "feed").outcomes
    assert counts["complete"] + counts["diverged"] == 6
    assert count == 6 + counts["failed"]
    assert made.feed.ended == "all 6 trials have run"
    assert made.feed.take(1) == []


def test_several_at_once_do_not_exceed_the_budget(opened: Callable[..., Any]) -> None:
    made = opened()
    assert len(made.feed.take(4)) == 4
    assert len(made.feed.take(4)) == 2
    assert made.feed.take(4) == []
    assert states(made.sweep) == ["RUNNING"] * 6


def test_trials_that_end_between_the_look_and_the_claim_have_run(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened()
    storage, study_id = made.feed._storage, made.sweep.study._study_id
    trials = made.feed.take(6)
    looks, look = [storage.glance(study_id, ())], storage.glance
    for trial in trials:
        play(made.feed, trial, [0.5])
    monkeypatch.setattr(storage, "glance", lambda *given: looks.pop() if looks else look(*given))
    assert made.feed.take(1) == []
    assert made.feed.ended == "all 6 trials have run"


def test_each_ending_is_one_state_with_its_reason(opened: Callable[..., Any]) -> None:
    made = opened()
    trials = made.feed.take(4)
    for trial in trials:
        made.feed.report([point(trial, 1, 0.9)])
        made.feed.report([point(trial, 2, 0.7)])
    made.feed.report([point(trials[1], 3, math.nan)])
    made.feed.report([point(trials[0], 3, 0.8)])
    made.feed.finish(
        [
            end(
                trials[0],
                Ending.TRAINED,
                3,
                test={"test/loss": 0.75, "test/accuracy": 1.0},
                peak_memory=2**20,
            ),
            end(trials[1], Ending.DIVERGED, 3, step=14),
            end(trials[2], Ending.FAILED, 2, error="ValueError: no", traceback="Traceback ..."),
        ]
    )
    rows = {row.number: row for row in queries.leaderboard(made.sweep.storage, "feed")}
    done, diverged, failed, running = (rows[number] for number in range(4))
    assert (done.outcome, done.state, done.value, done.epochs) == ("complete", "COMPLETE", 0.7, 3)
    assert done.test == {"test/loss": 0.75, "test/accuracy": 1.0}
    assert (diverged.outcome, diverged.state, diverged.value) == ("diverged", "PRUNED", None)
    assert (diverged.reason, diverged.diverged_step) == ("non-finite at step 14", 14)
    assert (diverged.last_value, diverged.last_epoch) == (0.7, 2)
    assert (done.last_value, done.last_epoch) == (None, None)
    assert [row.device_seconds for row in (done, diverged)] == pytest.approx([0.6, 0.6])
    assert [row.peak_memory for row in (done, diverged)] == [2**20, None]
    assert (failed.outcome, failed.reason) == ("failed", "ValueError: no")
    assert running.outcome == "running"
    frozen = made.sweep.study.get_trials()
    assert [t.constraints.get("diverged") for t in frozen] == [0.0, 1.0, 0.0, None]
    assert frozen[0].intermediate_values == {1: 0.9, 2: 0.7, 3: 0.8}
    assert math.isnan(frozen[1].intermediate_values[3])
    curves = queries.curves(made.sweep.storage, "feed", {0})[0]
    assert curves["valid/accuracy"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert curves["valid/loss"] == [(1, 0.9), (2, 0.7), (3, 0.8)]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("{name: valid/loss, take: last}", 0.8),
        ("{name: valid/loss, take: best}", 0.7),
        ("{name: valid/loss, goal: maximize}", 0.9),
    ],
)
def test_a_trials_value_is_its_best_or_last(
    opened: Callable[..., Any], metric: str, expected: float
) -> None:
    made = opened(SPEC + f"metric: {metric}\n")
    (trial,) = made.feed.take(1)
    play(made.feed, trial, [0.9, 0.7, 0.8])
    assert made.sweep.study.trials[0].value == expected


def test_the_plan_comes_first_and_the_baseline_is_never_pruned(opened: Callable[..., Any]) -> None:
    made = opened(
        SPEC.replace("early_terminate: none", "early_terminate: {type: asha, min_epochs: 1}")
        + "baseline: {optimizer: adamw, lr: 0.005}\nenqueue: [{optimizer: sgd, lr: 0.3}]\n"
    )
    baseline, enqueued = made.feed.take(2)
    assert (baseline.number, baseline.config.optimizer) == (0, "adamw")
    assert baseline.config.hypers["lr"] == 0.005
    assert baseline.config.schedule == "constant"
    assert (enqueued.config.optimizer, enqueued.config.hypers["lr"]) == ("sgd", 0.3)
    play(made.feed, enqueued, [0.1] * 10)
    play(made.feed, baseline, [9.0] * 10)
    (third,) = made.feed.take(1)
    play(made.feed, third, [9.0] * 10)
    rows = {row.number: row for row in queries.leaderboard(made.sweep.storage, "feed")}
    assert (rows[0].outcome, rows[0].origin, rows[0].epochs) == ("complete", "baseline", 10)
    assert (rows[2].outcome, rows[2].reason, rows[2].epochs) == (
        "pruned",
        "pruned at epoch 1",
        1,
    )


def test_a_known_configuration_inside_the_space_teaches_the_sampler(
    opened: Callable[..., Any],
) -> None:
    inside = "{optimizer: adamw, lr: 0.01, schedule: cosine, weight_decay: 0.1}"
    made = opened(SPEC + f"baseline: {inside}\nenqueue: [{{optimizer: sgd}}]\n")
    known, outside = made.sweep.study.trials
    assert known.params["adamw.lr"] == 0.01
    assert known.params["adamw.one_minus_beta1"] == pytest.approx(0.1)
    # SGD's published momentum and weight decay are 0, which log scales do not hold
    assert outside.params == {}
    assert outside.user_attrs["config"]["hypers"]["momentum"] == 0.0


def test_no_pruner_sees_a_value_that_is_not_finite(opened: Callable[..., Any]) -> None:
    text = SPEC.replace("early_terminate: none", "early_terminate: {type: asha, min_epochs: 1}")
    made = opened(text)
    made.feed.take(1)
    (trial,) = made.feed.take(1)
    for bad in (point(trial, 1, math.nan), point(trial, 1, 0.5, **{"train/loss": math.inf})):
        assert made.feed.report([replace(bad, diverged=True)]) == set()
    frozen = made.sweep.study.trials[trial.number]
    assert not any(key.startswith("completed_rung") for key in frozen.system_attrs)


def test_draining_hands_back_and_the_next_worker_takes_the_same_trial(
    opened: Callable[..., Any],
) -> None:
    made = opened()
    first, second = made.feed.take(2)
    made.feed.report([point(first, 1, 0.9)])
    made.feed.drain()
    assert made.feed.take(1) == []
    assert made.feed.report([point(second, 1, 0.9)]) == {second.number}
    assert made.feed.report([point(first, 2, 0.8)]) == {first.number}
    made.feed.finish([end(first, Ending.STOPPED, 2), end(second, Ending.STOPPED, 1)])
    assert states(made.sweep) == ["WAITING", "WAITING"]
    curves = queries.curves(made.sweep.storage, "feed")
    assert [curves[n]["valid/loss"] for n in (0, 1)] == [[(1, 0.9), (2, 0.8)], [(1, 0.9)]]
    again = opened()
    assert again.feed.take(2) == [first, second]
    # nobody wrote a checkpoint: they start anew
    assert queries.curves(made.sweep.storage, "feed") == {}


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trial_that_died_in_the_middle_of_its_ask_is_drawn_anew_to_the_same_values(
    opened: Callable[..., Any], storage: StudyStorage, cut: int
) -> None:
    text = SPEC + "baseline: false\n"
    made = opened(text)
    space = made.sweep.spec.space
    whole = optuna.create_study(sampler=make_sampler("random", space, 0)).ask()
    expected = space.suggest(whole)

    # as a worker leaves it that is killed after the first parameters
    made.sweep.study.sampler = make_sampler("random", space, 0)
    trial = made.sweep.study.ask()
    space.suggest(Cut(trial, cut))
    assert len(trial.params) == cut
    hand_all_back(storage, made.sweep.study_id)
    (taken,) = opened(text).feed.take(1)
    assert taken.number == 0
    assert made.sweep.study.trials[0].params == expected


class Cut:
    """A trial whose worker dies after some parameters; what it would have drawn is not stored."""

    def __init__(self, trial: optuna.Trial, left: int) -> None:
        self._trial, self._left = trial, left

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def suggest(key: str, *arguments: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left >= 0:
                return getattr(self._trial, name)(key, *arguments, **more)
            return arguments[0] if name != "suggest_categorical" else arguments[0][0]

        return suggest


def test_a_plan_is_completed_at_each_launch(opened: Callable[..., Any]) -> None:
    """Cut short by a kill, grown since, or its trial failed: what is missing is put in, once."""
    opened(SPEC + "enqueue: [{lr: 0.1}]\n")
    made = opened(SPEC + "enqueue: [{lr: 0.1}, {lr: 0.2}, {lr: 0.2}]\n")
    rates = [t.user_attrs["config"]["hypers"]["lr"] for t in made.sweep.study.trials]
    assert rates == [0.001, 0.1, 0.2, 0.2]
    assert [t.user_attrs["origin"] for t in made.sweep.study.trials] == [
        "baseline",
        "enqueued",
        "enqueued",
        "enqueued",
    ]
    baseline, first = made.feed.take(2)
    play(made.feed, first, [0.5])
    made.feed.finish([end(baseline, Ending.FAILED, error="x")])
    again = opened(SPEC + "enqueue: [{lr: 0.1}, {lr: 0.2}, {lr: 0.2}]\n")
    rows = [(t.state.name, t.user_attrs["origin"]) for t in again.sweep.study.trials]
    assert rows[0] == ("FAIL", "baseline")
    assert rows[4:] == [("WAITING", "baseline")]


def test_five_failures_with_one_cause_break_the_loop(opened: Callable[..., Any]) -> None:
    made = opened()
    for number in range(4):
        (trial,) = made.feed.take(1)
        made.feed.finish([end(trial, Ending.FAILED, error="OSError: disk")])
        assert states(made.sweep)[number] == "FAIL"
    (trial,) = made.feed.take(1)
    with pytest.raises(SweeplaneError, match="5 trials in a row failed with one cause: OSError"):
        made.feed.finish([end(trial, Ending.FAILED, error="OSError: disk")])
    assert states(made.sweep) == ["FAIL"] * 5


def test_failures_target_trial_time_and_wall_time_end_it(opened: Callable[..., Any]) -> None:
    made = opened(SPEC + "metric: {name: valid/loss, target: 0.5}\n")
    (trial,) = made.feed.take(1)
    play(made.feed, trial, [0.9, 0.49])
    assert made.feed.take(1) == []
    assert made.feed.ended == "target 0.5 is reached"


def test_budget_failures_ends_the_sweep_with_an_error(opened: Callable[..., Any]) -> None:
    text = SPEC.replace("run_cap: 6", "budget: {trials: 6, failures: 2}")
    made = opened(text)
    for cause in ("a", "b"):
        (trial,) = made.feed.take(1)
        made.feed.finish([end(trial, Ending.FAILED, error=cause)])
    with pytest.raises(SweeplaneError, match=r"2 trials .* failed, and budget.failures is 2"):
        made.feed.take(1)
    assert len(opened(text.replace("failures: 2", "failures: 3")).feed.take(1)) == 1


def test_trial_time_stops_one_trial_and_time_drains_all(opened: Callable[..., Any]) -> None:
    made = opened(SPEC.replace("run_cap: 6", "budget: {trials: 6, trial_time: 1s}"))
    (trial,) = made.feed.take(1)
    assert made.feed.report([Point(trial.number, 1, point(trial, 1, 0.5).values, 0.9)]) == set()
    assert made.feed.report([Point(trial.number, 2, point(trial, 2, 0.5).values, 1.1)]) == {0}
    made.feed.finish([end(trial, Ending.STOPPED, 2)])
    row = queries.leaderboard(made.sweep.storage, "feed")[0]
    assert (row.outcome, row.value) == ("pruned", 0.5)
    assert row.reason == "1 s of training (budget.trial_time)"


def test_an_unknown_metric_is_refused_before_anything_is_written(
    opened: Callable[..., Any], storage: StudyStorage
) -> None:
    with pytest.raises(UserError, match=r"metric 'valid/acuracy' is not measured.*did you mean"):
        opened(SPEC + "metric: {name: valid/acuracy, goal: maximize}\n")
    assert storage.get_all_studies() == []


RAW_NAME = """
import torch
from sweeps import Task

def make():
    x = torch.ones(4, 1)
    metrics = {"loss_raw": lambda output, target: output.mean()}
    return Task(
        model=lambda: torch.nn.Linear(1, 1), train=(x, x), valid=(x, x),
        loss=torch.nn.functional.mse_loss, metrics=metrics, batch_size=2,
    )
"""


@pytest.mark.parametrize("text", ["average: [none, ema]", "enqueue: [{average: ema}]"])
def test_a_metric_named_like_a_raw_curve_is_refused_beside_an_average(
    opened: Callable[..., Any], storage: StudyStorage, tmp_path: Path, text: str
) -> None:
    (tmp_path / "raw_name.py").write_text(RAW_NAME)
    own = SPEC.replace("iris-mlp", "raw_name.py:make")
    with pytest.raises(UserError, match=r"metric 'loss_raw' of task .* average ema .* rename"):
        opened(f"{own}{text}\n")
    assert storage.get_all_studies() == []
    assert opened(own).feed.take(1)


def test_known_configurations_stored_before_there_were_averages_are_not_planned_again(
    opened: Callable[..., Any],
) -> None:
    made = opened()
    (waiting,) = made.sweep.study.get_trials(deepcopy=False)
    stored = dict(waiting.user_attrs["config"])
    del stored["average_hypers"]
    made.sweep.storage.set_trial_user_attr(waiting._trial_id, "config", stored)
    plan(made.sweep)
    assert states(made.sweep) == ["WAITING"]
    (trial,) = made.feed.take(1)
    assert (trial.number, trial.config.average, trial.config.average_hypers) == (0, "none", {})
    play(made.feed, trial, [0.5])
    plan(made.sweep)
    assert states(made.sweep) == ["COMPLETE"]


def test_waiting_trials_beyond_the_budget_stay(opened: Callable[..., Any]) -> None:
    made = opened(SPEC.replace("run_cap: 6", "run_cap: 2") + "enqueue: [{lr: 0.1}, {lr: 0.2}]\n")
    for _ in range(2):
        (trial,) = made.feed.take(1)
        play(made.feed, trial, [0.5])
    assert made.feed.take(1) == []
    assert states(made.sweep) == ["COMPLETE", "COMPLETE", "WAITING"]
    assert [t.number for t in made.sweep.study.get_trials(states=(TrialState.WAITING,))] == [2]
