"""Every limit of a budget counts once over two workers and a relaunch, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from studies import StudyStorage, SweeplaneError, cancel_trials, give, schema
from sweeps.engines.base import Ending, Outcome
from sweeps.launch import open_sweep
from sweeps.spec import load_spec
from sweeps.worker import Worker
from tests.integration.worker.test_feed import SPEC, point

Join = Callable[..., Worker]


@pytest.fixture
def join(database_url: str, tmp_path: Path) -> Iterator[Join]:
    """One more worker on the study "feed"."""
    with ExitStack() as stack:

        def make(budget: str, method: str = "random") -> Worker:
            path = tmp_path / "sweep.yaml"
            text = SPEC.replace("run_cap: 6", budget).replace("method: random", f"method: {method}")
            path.write_text(text + "baseline: false\n")
            sweep = open_sweep(load_spec(path, {"device": "cpu"}), database_url, "feed")
            stack.enter_context(sweep.storage)
            return stack.enter_context(Worker(sweep, leads=False))

        yield make


def train(
    worker: Worker, seconds: float, ending: Ending = Ending.TRAINED, loss: float = 1.0
) -> None:
    """Take a trial and end it, as an engine does."""
    feed = worker._feed
    (trial,) = feed.take(1)
    feed.report([point(trial, 1, loss)])
    why = f"cause {seconds}"
    feed.finish([Outcome(trial.number, ending, 1, seconds, seconds, step=1, error=why)])


def test_device_hours_are_those_of_all_trials(join: Join) -> None:
    budget = "budget: {gpu_hours: 0.01}"  # 36 s
    first, second = join(budget), join(budget)
    train(first, 10.0)
    train(second, 11.0, Ending.FAILED)
    train(first, 6.0, Ending.DIVERGED)
    again = join(budget)
    train(again, 8.9)  # 35.9
    train(second, 0.1)
    for worker in (first, second, again, join(budget)):
        assert worker._feed.take(1) == []
        assert worker._feed.ended == "0.01 device-hours are used (budget.gpu_hours)"


def test_failures_are_those_of_all_workers(join: Join, storage: StudyStorage) -> None:
    budget = "budget: {trials: 50, failures: 3}"
    first, second = join(budget), join(budget)
    train(first, 1.0, Ending.FAILED)
    train(second, 2.0, Ending.FAILED)
    (cancelled,) = second._feed.take(1)
    assert cancel_trials(storage, "feed", [cancelled.number]) == [2]  # which is no failure
    train(join(budget), 3.0, Ending.FAILED)
    for worker in (first, join(budget)):
        with pytest.raises(SweeplaneError, match="3 trials of study 'feed' have failed"):
            worker._feed.take(1)


def test_the_target_is_reached_by_any_worker(join: Join) -> None:
    budget = "run_cap: 50\nmetric: {name: valid/loss, target: 0.5}"
    first, second = join(budget), join(budget)
    train(first, 1.0, loss=0.6)
    train(second, 1.0, loss=0.4, ending=Ending.DIVERGED)  # which is no success
    train(second, 1.0, loss=0.5)
    for worker in (first, join(budget)):
        assert worker._feed.take(1) == []
        assert worker._feed.ended == "target 0.5 is reached"


def test_wall_time_goes_on_after_a_relaunch_but_not_in_a_pause(
    join: Join, storage: StudyStorage
) -> None:
    budget = "budget: {time: 60s}"
    first = join(budget)
    (trial,) = first._feed.take(1)
    give(storage, "feed", "pause")
    set_elapsed(storage, 50.0)
    waiting = join(budget)
    before = waiting._member.elapsed()
    turn_back(storage, 12.0)
    assert (waiting._member.elapsed(), join(budget)._member.elapsed()) == (before, before)
    assert before == 50.0
    give(storage, "feed", "run")
    turn_back(storage, 12.0)
    again = join(budget)
    assert again._feed.take(1) == []
    assert again._feed.ended is not None
    assert "s have passed (budget.time)" in again._feed.ended
    first._member._clock = again._member._clock  # as its next heartbeat says
    assert first._feed.report([point(trial, 1, 1.0)]) == {trial.number}  # unlike the others
    first._feed.finish([Outcome(trial.number, Ending.STOPPED, 1, 1.0, 1.0)])
    assert [
        t.state.name for t in storage.get_all_trials(again._member.holding.worker.study_id)
    ] == ["WAITING"]


def set_elapsed(storage: StudyStorage, seconds: float) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(elapsed_seconds=seconds))


def turn_back(storage: StudyStorage, seconds: float) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(elapsed_at=schema.utc_in(-seconds)))


def test_a_trial_that_is_cancelled_or_given_back_leaves_its_engine_nothing(
    join: Join, storage: StudyStorage
) -> None:
    """What `sweeps.control` interrupts an engine for, and when it does not."""
    worker: Any = join("run_cap: 6")
    feed = worker._feed
    first = feed.take(2)[0]
    assert not feed.idle
    cancel_trials(storage, "feed", [first.number])
    feed.lose(worker._member.holding.renew().lost)
    assert not feed.idle  # the second one is in training
    give(storage, "feed", "cancel")
    feed.lose(worker._member.holding.renew().lost)
    assert feed.idle
    feed.abandon()
    assert (feed.idle, worker.progress.running, worker._member.holding.tokens) == (False, {}, {})
    assert [t.state.name for t in storage.get_all_trials(1)] == ["FAIL", "WAITING"]


@pytest.mark.parametrize(("method", "share"), [("random", 1), ("tpe", 8)])
def test_what_may_still_begin_is_shared_by_the_workers(join: Join, method: str, share: int) -> None:
    """Failed trials take no place; a worker's own running ones are among those it may train."""
    first, second = (join("budget: {trials: 16, time: 1h}", method) for _ in range(2))
    for ending in (Ending.TRAINED, Ending.DIVERGED, Ending.FAILED):
        train(first, 1.0, ending)
    assert len(second._feed.take(2)) == 2
    found = [worker._feed.outlook() for worker in (first, second)]
    assert [(each.trials, each.at_once) for each in found] == [(6, 6 / share), (7, 7 / share)]
    assert all(3500 < each.seconds <= 3600 for each in found)
