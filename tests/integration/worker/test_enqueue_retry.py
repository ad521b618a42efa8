"""Trials put into a study from outside: known configurations, and finished trials once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from studies import Finish, StudyStorage, UserError, give
from sweeps.config import Config
from sweeps.enqueue import enqueue, from_arguments, from_yaml
from sweeps.feed import StudyFeed
from sweeps.grid_points import GRID_INDEX
from sweeps.launch import OpenSweep, open_sweep
from sweeps.plan import plan
from sweeps.retry import failed_trials, retry
from sweeps.spec import load_spec
from sweeps.stored import held_up
from sweeps.summary import yaml_text
from sweeps.worker import Worker

SPEC = """
name: known
task: mine.py:make
optimizer: [adamw, sgd]
schedule: cosine
baseline: {optimizer: adamw, lr: 0.001}
parameters: {hidden: {values: [4, 8]}}
epochs: 3
batch_size: 16
run_cap: 4
"""
TASK = """
import torch.nn.functional as F
from torch import nn, ones
from sweeps import Task


def make(hidden=4):
    data = ones(64, 2), ones(64, 1)
    return Task(model=lambda: nn.Linear(2, 1), train=data, valid=data, loss=F.mse_loss)
"""
GRID = """
name: known
task: mine.py:make
method: grid
optimizer: sgd
schedule: constant
baseline: false
parameters: {lr: {values: [0.1, 0.2]}, momentum: 0, weight_decay: 0}
epochs: 1
batch_size: 16
"""

Opened = Callable[..., OpenSweep]
FeedOf = Callable[[OpenSweep], StudyFeed]


@pytest.fixture
def opened(database_url: str, tmp_path: Path) -> Iterator[Opened]:
    """Opens the sweep of a text, its planned trials in it."""
    made: list[OpenSweep] = []
    (tmp_path / "mine.py").write_text(TASK)

    def make(text: str = SPEC) -> OpenSweep:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        made.append(open_sweep(load_spec(path, {"device": "cpu"}), database_url, "known"))
        plan(made[-1])
        return made[-1]

    yield make
    for sweep in made:
        sweep.storage.close()


def trials(storage: StudyStorage) -> list[FrozenTrial]:
    return optuna.load_study(study_name="known", storage=storage).get_trials()


def end(storage: StudyStorage, number: int, state: TrialState) -> None:
    trial = trials(storage)[number]
    if trial.state == TrialState.WAITING:
        storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    values = [0.5] if state == TrialState.COMPLETE else None
    assert storage.finish([Finish(trial._trial_id, state, values)]) == set()


@pytest.fixture
def feed_of(opened: Opened) -> Iterator[FeedOf]:  # noqa: ARG001 (its storages close later)
    """The feed of a worker that lives until the test ends."""
    with ExitStack() as stack:
        yield lambda sweep: stack.enter_context(Worker(sweep))._feed


def test_it_is_what_the_file_would_have_put_in(opened: Opened, storage: StudyStorage) -> None:
    opened()
    entry = {"optimizer": "sgd", "lr": "1e-1", "momentum": "0.9", "weight_decay": "1e-4"}
    entry |= {"hidden": "8", "schedule": "cosine", "warmup_fraction": "0.05"}
    pairs = [f"{name}={value}" for name, value in entry.items()]
    ((number, config),) = enqueue(storage, "known", from_arguments(pairs))
    text = ", ".join(f"{name}: {value}" for name, value in entry.items())
    spec = opened(SPEC + f"enqueue: [{{{text}}}]\n").spec  # planned already: no third trial
    assert spec.enqueue_configs(epochs=3, batch_size=16) == (config,)
    baseline, made = trials(storage)
    assert (number, made.number, made.state) == (1, 1, TrialState.WAITING)
    assert baseline.user_attrs["origin"] == "baseline"
    assert made.user_attrs == {"origin": "enqueued", "config": config.to_json()}
    assert spec.space.encode(config) == made.params != {}


def test_outside_the_space_it_has_no_sampled_values(opened: Opened, storage: StudyStorage) -> None:
    opened()
    enqueue(storage, "known", from_arguments(["optimizer=lion", "lr=0.5"]))
    made = trials(storage)[1]
    assert (made.params, made.user_attrs["config"]["optimizer"]) == ({}, "lion")


def test_a_live_feed_takes_it_next(opened: Opened, feed_of: FeedOf, storage: StudyStorage) -> None:
    feed = feed_of(opened())
    (first,) = feed.take(1)
    assert first.number == 0
    ((number, config),) = enqueue(storage, "known", from_arguments(["lr=0.25"]))
    (second,) = feed.take(1)
    assert (second.number, second.config) == (number, config)


def test_the_same_twice_is_two_trials(opened: Opened, storage: StudyStorage) -> None:
    opened()
    for expected in (1, 2):
        assert enqueue(storage, "known", from_arguments(["lr=0.25"]))[0][0] == expected


def test_the_sweep_file_may_be_gone_or_another(
    opened: Opened, storage: StudyStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "sweep.yaml").write_text("task: digits-mlp\noptimizer: lion\n")
    assert enqueue(storage, "known", from_arguments(["hidden=8"]))[0][1].task_args == {"hidden": 8}
    (tmp_path / "sweep.yaml").unlink()
    ((_, config),) = enqueue(storage, "known", from_arguments(["lr=0.25"]))
    assert (config.optimizer, config.hypers["lr"]) == ("adamw", 0.25)
    (tmp_path / "mine.py").unlink()
    with pytest.raises(
        UserError, match=r"its task file is not on this machine, neither as \S+mine\.py nor"
    ):
        enqueue(storage, "known", from_arguments(["lr=0.25"]))


@pytest.mark.parametrize(
    "text",
    [
        "lr: 0.25\nhidden: 8\n",
        "[{lr: 0.25, hidden: 8}]",
        "enqueue:\n  - lr: 0.25\n    hidden: 8\n",
        "baseline: {lr: 0.25, hidden: 8}\n",
    ],
)
def test_a_file_in_each_form(
    opened: Opened, storage: StudyStorage, tmp_path: Path, text: str
) -> None:
    opened()
    (tmp_path / "more.yaml").write_text(text)
    ((_, config),) = enqueue(storage, "known", from_yaml(tmp_path / "more.yaml"))
    assert (config.hypers["lr"], config.task_args) == (0.25, {"hidden": 8})


def test_what_best_prints_comes_back(opened: Opened, storage: StudyStorage, tmp_path: Path) -> None:
    opened()
    known = Config.from_json(trials(storage)[0].user_attrs["config"])
    (tmp_path / "best.yaml").write_text(yaml_text(known))
    assert enqueue(storage, "known", from_yaml(tmp_path / "best.yaml")) == [(1, known)]


def test_every_fault_of_a_file_with_its_line(
    opened: Opened, storage: StudyStorage, tmp_path: Path
) -> None:
    opened()
    path = tmp_path / "more.yaml"
    path.write_text("- {lr: -1}\n- optimizer: sgd\n  momentun: 0.9\n- 7\n- optimizer: sgdd\n")
    with pytest.raises(UserError) as failed:
        enqueue(storage, "known", from_yaml(path))
    lines = str(failed.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:{n}" for n in (1, 3, 4, 5)]
    assert "enqueue[0].lr: lr = -1 is invalid" in lines[0]
    assert "did you mean 'momentum'" in lines[1]
    assert "enqueue[2] is 7; give a mapping" in lines[2]
    assert "optimizer 'sgdd' is unknown" in lines[3]
    assert len(trials(storage)) == 1


def test_every_fault_of_the_arguments(opened: Opened, storage: StudyStorage) -> None:
    opened()
    pairs = ["lr=x", "lr=0.1", "hidden=[1", "=3", "momentum=0.9", "epochs=0", "url=a://u:pw@h"]
    with pytest.raises(UserError) as failed:
        enqueue(storage, "known", from_arguments(pairs))
    text = str(failed.value)
    assert all(line.startswith("arguments: ") for line in text.splitlines())
    for said in (
        "'lr' is there twice",
        "'hidden=[1': this is not YAML",
        "'=3' is not key=value; write lr=0.01",
        "name 'momentum' is unknown",
        "epochs: give a whole number, not 0",
        "name 'url' is unknown",
    ):
        assert said in text
    assert "pw" not in text
    assert len(trials(storage)) == 1


def test_a_batch_that_no_training_set_fills(opened: Opened, storage: StudyStorage) -> None:
    opened()
    with pytest.raises(UserError, match="batch_size 100 is larger than the 64 training examples"):
        enqueue(storage, "known", from_arguments(["batch_size=100"]))
    assert len(trials(storage)) == 1


def test_only_a_study_with_a_sweep_file(opened: Opened, storage: StudyStorage) -> None:
    opened()
    optuna.create_study(storage=storage, study_name="plain")
    with pytest.raises(UserError, match="'plain' was not made by a sweep file"):
        enqueue(storage, "plain", from_arguments(["lr=1"]))
    with pytest.raises(UserError, match="did you mean 'known'"):
        enqueue(storage, "knwon", from_arguments(["lr=1"]))


@pytest.mark.parametrize("text", ["", "7", "[]", "a: [", "- &a [*a]\n"])
def test_a_file_that_holds_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(text)
    if text.startswith("-"):
        assert from_yaml(path).document.errors
        return
    with pytest.raises(UserError, match=str(path)):
        from_yaml(path)
    with pytest.raises(UserError, match="No such file"):
        from_yaml(tmp_path / "none.yaml")


def test_a_retry_is_the_same_configuration_with_a_link(
    opened: Opened, feed_of: FeedOf, storage: StudyStorage
) -> None:
    feed = feed_of(opened())
    baseline, sampled = feed.take(2)
    for number in (0, 1):
        end(storage, number, TrialState.FAIL)
    assert failed_trials(storage, "known") == [0, 1]
    assert retry(storage, "known", [1, 0, 1]) == [(1, 2), (0, 3)]
    old, new = trials(storage)[1], trials(storage)[2]
    assert (old.state, new.state) == (TrialState.FAIL, TrialState.WAITING)
    assert (new.params, new.distributions) == (old.params, old.distributions)
    kept = ("config", "origin")
    assert new.user_attrs == {**{k: old.user_attrs[k] for k in kept}, "retry_of": 1}
    again, baseline_again = feed.take(2)
    assert (again.config, baseline_again.config) == (sampled.config, baseline.config)
    assert again.seeds != sampled.seeds

    assert failed_trials(storage, "known") == []
    end(storage, 2, TrialState.FAIL)
    assert failed_trials(storage, "known") == [2]
    opened()  # the baseline that is retried is not planned once more
    assert len(trials(storage)) == 4


def test_only_what_has_ended_is_retried(
    opened: Opened, feed_of: FeedOf, storage: StudyStorage
) -> None:
    feed = feed_of(opened())
    feed.take(3)
    end(storage, 0, TrialState.COMPLETE)
    storage.hand_back(1, [trials(storage)[2]._trial_id])
    with pytest.raises(UserError) as failed:
        retry(storage, "known", [0, 1, 2, 9])
    assert [line.partition(";")[0] for line in str(failed.value).splitlines()] == [
        "trial 1 of study 'known' is RUNNING",
        "trial 2 of study 'known' is WAITING",
        "study 'known' has no trial 9. See sweeps status known",
    ]
    assert len(trials(storage)) == 3
    assert retry(storage, "known", [0]) == [(0, 3)]


def test_a_retry_takes_its_place_in_the_grid(
    opened: Opened, feed_of: FeedOf, storage: StudyStorage
) -> None:
    feed = feed_of(opened(GRID))
    feed.take(2)
    end(storage, 0, TrialState.FAIL)
    end(storage, 1, TrialState.COMPLETE)
    assert retry(storage, "known", [0, 1]) == [(0, 2), (1, 3)]
    assert [t.system_attrs.get(GRID_INDEX) for t in trials(storage)] == [0, 1, 0, None]
    assert [t.number for t in feed.take(2)] == [2, 3]
    assert feed.take(1) == []
    end(storage, 2, TrialState.COMPLETE)
    end(storage, 3, TrialState.COMPLETE)
    later = feed_of(opened(GRID))
    assert later.take(1) == []
    assert later.ended == "the grid's 2 points have run"


def test_a_plain_optuna_trial_too(storage: StudyStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="plain")
    trial = study.ask()
    x = trial.suggest_float("x", 0, 1)
    study.tell(trial, state=TrialState.FAIL)
    assert retry(storage, "plain", failed_trials(storage, "plain")) == [(0, 1)]
    again = study.ask()
    assert (again.number, again.suggest_float("x", 0, 1)) == (1, x)
    assert again.user_attrs == {"retry_of": 0}
    assert "next study.ask" in (held_up(storage, "plain") or "")


def test_what_waiting_trials_wait_for(opened: Opened, storage: StudyStorage) -> None:
    sweep = opened(SPEC.replace("run_cap: 4", "run_cap: 2"))
    assert held_up(storage, "known") == "nobody runs the study now: sweeps run FILE"
    give(storage, "known", "stop")
    go_on = "sweeps run FILE, or sweeps resume known and then sweeps worker --study known"
    assert held_up(storage, "known") == f"the study is stopped: {go_on}"
    with Worker(sweep) as worker:
        assert held_up(storage, "known") is None
        give(storage, "known", "pause")
        assert held_up(storage, "known") == "the study is paused: sweeps resume known"
        give(storage, "known", "run")
        worker._feed.take(2)
        assert "budget.trials (2 at the last `sweeps run`)" in str(held_up(storage, "known"))
