"""`sweeps pause | resume | stop | cancel`, the breaker, a study that is deleted: real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import select

from studies import StudyStorage, open_storage, queries, schema
from tests.e2e.faults.scene import SLOW, running, trainers, trials_of
from tests.e2e.runs import SWEEP, exported, write
from tests.waiting import wait_for

LEASE = 3.0
Run = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]

# An epoch that lasts until the file "go" is there: far longer than any lease.
ENDLESS_TASK = """
import pathlib, time
import torch
import torch.nn.functional as F
from torch import nn
from sweeps import Task

class Endless(nn.Linear):
    def forward(self, x):
        while self.training and not pathlib.Path("go").exists():
            time.sleep(0.01)
        return super().forward(x)

def make():
    x, y = torch.rand(8, 4), torch.arange(8) % 3
    return Task(model=lambda: Endless(4, 3), train=(x, y), valid=(x, y), loss=F.cross_entropy)
"""
FAILING_TASK = """
import itertools, os
import torch
import torch.nn.functional as F
from torch import nn
from sweeps import Task

counter = itertools.count()

class Failing(nn.Linear):
    def forward(self, x):
        if self.training:
            raise ValueError(CAUSE)
        return super().forward(x)

def make():
    x, y = torch.rand(8, 4), torch.arange(8) % 3
    return Task(model=lambda: Failing(4, 3), train=(x, y), valid=(x, y), loss=F.cross_entropy)
"""
OWN = """
name: small
task: own.py:make
method: random
optimizer: adamw
schedule: constant
epochs: 2
batch_size: 4
early_terminate: none
workers: 1
run_cap: 6
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sweeps.db'}"


@pytest.fixture
def storage(url: str) -> Iterator[StudyStorage]:
    with open_storage(url) as opened:
        yield opened


def own(folder: Path, task: str, text: str = OWN) -> None:
    (folder / "own.py").write_text(task)
    (folder / "sweep.yaml").write_text(text)


def begin(start: Start, *more: str) -> subprocess.Popen[str]:
    leases = ("--lease-seconds", str(LEASE))
    return start("run", "sweep.yaml", "--tracking", "none", *leases, *more)


def status(sweeps: Run) -> dict[str, Any]:
    done = sweeps("status", "small", "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def since(storage: StudyStorage) -> datetime:
    order = queries.status(storage, "small").order
    assert order is not None
    assert order.since is not None
    return order.since


def trainers_ended(storage: StudyStorage) -> list[datetime]:
    """When each worker that trained has signed off, by the database's clock."""
    workers = schema.workers.c
    query = select(workers.ended).where(workers.lanes > 0, workers.ended.is_not(None))
    with storage.engine.connect() as connection:
        return [moment for moment in connection.scalars(query) if moment is not None]


def test_two_workers_pause_and_go_on(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path
) -> None:
    own(tmp_path, ENDLESS_TASK)
    run = begin(start, "--workers", "2")
    wait_for(lambda: len(running(storage)) == 2, 120)
    told = sweeps("pause", "small")
    said = (
        "Study 'small' is paused. 2 workers: the epoch ends, trials are handed back (trials 0, 1)"
    )
    assert said in told.out
    assert "To go on: sweeps resume small" in told.out
    wait_for(lambda: all(w.heartbeat > since(storage) for w in trainers(storage)))
    assert running(storage) == [0, 1]  # in the middle of their epoch
    (tmp_path / "go").touch()
    paused = sweeps("pause", "small", "--wait")
    assert paused.code == 0, paused.err
    assert "Study 'small' is paused since" in paused.out
    assert "Done: no trial is running." in paused.out
    pids = {worker.process.pid for worker in trainers(storage)}
    shown = status(sweeps)
    assert (shown["status"], shown["order"]["control"], shown["running"]) == ("running", "pause", 0)
    assert shown["waiting"] >= 2
    assert [worker["trials"] for worker in shown["workers"]] == [[], [], []]  # and the leader
    text = sweeps("status", "small").out
    assert "paused by `sweeps pause` since" in text
    assert "To go on: sweeps resume small" in text
    assert "running (paused)" in sweeps("list").out
    again = sweeps("pause", "small", "--json")
    assert json.loads(again.out)["before"] == "pause"
    beats = {worker.process.pid: worker.heartbeat for worker in trainers(storage)}
    assert beats.keys() == pids
    wait_for(lambda: all(w.heartbeat > beats[w.process.pid] for w in trainers(storage)))
    assert running(storage) == []
    assert {worker.process.pid for worker in trainers(storage)} == pids
    went_on = sweeps("resume", "small")
    assert "Study 'small' is resumed. 2 workers: trials are taken again" in went_on.out
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, out
    assert "it goes on with: sweeps resume small" in out
    assert "Ended: all 6 trials have run." in out
    assert [trial.state for trial in trials_of(storage)] == [TrialState.COMPLETE] * 6
    nothing = sweeps("resume", "small")
    assert nothing.code == 2
    assert "neither paused nor stopped" in nothing.err


def test_stop_ends_every_worker_and_run_goes_on(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path
) -> None:
    write(tmp_path, SLOW.replace("run_cap: 12", "run_cap: 500"))
    run = begin(start, "--workers", "2")
    wait_for(lambda: len(running(storage)) == 2, 120)
    alone = start("worker", "--study", "small", "--lease-seconds", str(LEASE))
    wait_for(lambda: len(trainers(storage)) == 3, 120)
    stopped = sweeps("stop", "small", "--wait", "--json")
    assert stopped.code == 0, stopped.err
    assert json.loads(stopped.out)["done"] is True
    said = [process.communicate(timeout=60)[0] for process in (run, alone)]
    assert (run.returncode, alone.returncode) == (130, 130), said
    assert all("Ended: stopped by `sweeps stop`." in out for out in said)
    shown = status(sweeps)
    assert (shown["status"], shown["running"], shown["workers"]) == ("drained", 0, [])
    refused = sweeps("worker", "--study", "small")
    assert refused.code == 2
    assert "was stopped by `sweeps stop`. To go on: sweeps run FILE" in refused.err
    pause = sweeps("pause", "small")
    assert pause.code == 2
    assert "was stopped already, so there is nothing to pause" in pause.err
    budget = len(trials_of(storage)) + 1
    write(tmp_path, SLOW.replace("run_cap: 12", f"run_cap: {budget}"))
    done = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert done.code == 0, done.err
    assert status(sweeps)["order"]["control"] == "run"
    assert len(trials_of(storage)) == budget


@pytest.mark.parametrize("workers", ["1", "2"])
def test_cancel_does_not_wait_for_an_epoch(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path, workers: str
) -> None:
    own(tmp_path, ENDLESS_TASK)
    run = begin(start, "--workers", workers)
    wait_for(lambda: len(running(storage)) == int(workers), 120)
    wait_for(lambda: all("config" in t.user_attrs for t in trials_of(storage)))
    cancelled = sweeps("cancel", "small")
    assert f"Given back: trial{'s 0, 1' if workers == '2' else ' 0'}." in cancelled.out
    assert running(storage) == []
    out, _ = run.communicate(timeout=60)
    took = [(ended - since(storage)).total_seconds() for ended in trainers_ended(storage)]
    assert len(took) == int(workers)
    assert max(took) < LEASE + 2, took  # a heartbeat, and what signing off takes on a busy machine
    assert run.returncode == 130, out
    assert "Ended: cancelled by `sweeps cancel`." in out
    assert {trial.state for trial in trials_of(storage)} == {TrialState.WAITING}
    (tmp_path / "go").touch()
    done = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert done.code == 0, done.err
    assert [trial["outcome"] for trial in exported(sweeps)] == ["complete"] * 6


def test_waiting_ends_when_the_study_is_told_something_else(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path
) -> None:
    own(tmp_path, ENDLESS_TASK, OWN)
    run = begin(start)
    wait_for(lambda: running(storage) == [0])
    with start("pause", "small", "--wait") as waiting:
        assert waiting.stdout is not None
        said = [waiting.stdout.readline(), waiting.stdout.readline()]
        assert said[1].startswith("trial 0 still running; 1 live: "), said
        assert sweeps("resume", "small").code == 0
        rest = waiting.stdout.read()
    assert rest == (
        "Study 'small' was told something else meanwhile: it is resumed. See sweeps status small\n"
    )
    assert waiting.returncode == 1
    (tmp_path / "go").touch()
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, out


def test_a_cancelled_trial_ends_for_good_and_its_worker_goes_on(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path
) -> None:
    own(tmp_path, ENDLESS_TASK, OWN + "baseline: {optimizer: adamw, lr: 0.01}\n")
    run = begin(start)
    wait_for(lambda: running(storage) == [0])
    done = sweeps("cancel", "small", "0")
    assert "Cancelled for good: trial 0." in done.out
    assert "sweeps retry small 0" in done.out
    wait_for(lambda: running(storage) == [1])
    assert run.poll() is None
    again = sweeps("cancel", "small", "0")
    assert (again.code, again.out) == (0, "Cancelled before: trial 0.\n")
    told = json.loads(sweeps("cancel", "small", "0", "--json").out)
    assert (told["cancelled"], told["cancelled_before"]) == ([], [0])
    (tmp_path / "go").touch()
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, out
    outcomes = [trial["outcome"] for trial in exported(sweeps)]
    assert outcomes == ["cancelled", *["complete"] * 6]  # it holds no place
    wrong = sweeps("cancel", "small", "1", "99")
    assert wrong.code == 2
    assert "trial 1 of study 'small' has ended (complete)" in wrong.err
    assert "study 'small' has no trial 99" in wrong.err
    nearest = sweeps("cancel", "smal", "1")
    assert nearest.code == 2
    assert "did you mean 'small'?" in nearest.err
    (tmp_path / "sweep.yaml").write_text(
        (tmp_path / "sweep.yaml").read_text().replace("run_cap: 6", "run_cap: 7")
    )
    more = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert more.code == 0, more.err
    trials = exported(sweeps)
    assert [t["origin"] for t in trials].count("baseline") == 1  # the cancelled one
    assert len(trials) == 8


def test_one_cause_over_two_workers_stops_the_study(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path
) -> None:
    text = OWN.replace("run_cap: 6", "budget: {trials: 50, failures: 100}")
    own(tmp_path, FAILING_TASK.replace("CAUSE", "'no such layer'"), text)
    run = begin(start, "--workers", "2")
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 1, out
    assert "Error: 5 trials in a row failed with one cause: ValueError: no such layer" in out
    assert "Mend it, then go on: sweeps run FILE" in out
    assert 5 <= len(trials_of(storage)) <= 7  # one more was in training, at most, and one to come
    shown = status(sweeps)
    assert (shown["status"], shown["order"]["control"]) == ("failed", "stop")
    assert "ValueError: no such layer" in sweeps("status", "small").out
    own(tmp_path, FAILING_TASK.replace("raise ValueError(CAUSE)", "pass"), text)
    done = sweeps("run", "sweep.yaml", "--tracking", "none")  # the old failures do not count
    assert done.code == 0, done.err
    assert status(sweeps)["outcomes"]["complete"] == 50


def test_several_causes_do_not(sweeps: Run, start: Start, tmp_path: Path) -> None:
    text = OWN.replace("run_cap: 6", "budget: {trials: 50, failures: 12}")
    cause = "f'bad batch {next(counter) % 4} in {os.getpid()}'"
    own(tmp_path, FAILING_TASK.replace("CAUSE", cause), text)
    run = begin(start, "--workers", "2")
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 1, out
    assert "have failed, and budget.failures is 12" in out
    failed = status(sweeps)["outcomes"]["failed"]
    assert 12 <= failed <= 13  # exact, but for what the other one was training


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_study_that_is_deleted_ends_its_workers(
    start: Start, url: str, storage: StudyStorage, tmp_path: Path, workers: str
) -> None:
    own(tmp_path, ENDLESS_TASK)
    run = begin(start, "--workers", workers)
    wait_for(lambda: len(running(storage)) == int(workers), 120)
    optuna.delete_study(study_name="small", storage=url)  # as its dashboard does
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 1, out
    assert "Error: study 'small' was deleted while this process worked on it" in out
    assert "Traceback" not in out


def test_a_study_is_not_deleted_below_its_workers(
    sweeps: Run, start: Start, storage: StudyStorage, tmp_path: Path
) -> None:
    own(tmp_path, ENDLESS_TASK)
    run = begin(start)
    wait_for(lambda: len(running(storage)) == 1)
    refused = sweeps("delete", "small", "--yes")
    assert refused.code == 2
    assert f"is being run by process {run.pid} on" in refused.err
    assert "sweeps stop small --wait" in refused.err
    assert sweeps("cancel", "small", "--wait").code == 0
    run.communicate(timeout=60)
    assert sweeps("delete", "small", "--yes").code == 0


def test_each_attempt_says_by_whose_code_it_was_trained(sweeps: Run, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    commits = []
    for budget in (2, 3):
        write(tmp_path, SWEEP.replace("run_cap: 12", f"run_cap: {budget}"))
        git("add", "sweep.yaml", "slow.py")
        git("commit", "-q", "-m", f"budget {budget}")
        commits.append(git("rev-parse", "HEAD"))
        done = sweeps("run", "sweep.yaml", "--tracking", "none")
        assert done.code == 0, done.err
    data = json.loads(sweeps("export", "small").out)
    made = [data["workers"][str(trial["attempts"][-1])] for trial in data["trials"]]
    assert [worker["git_commit"] for worker in made] == [commits[0], commits[0], commits[1]]
    assert [worker["git_dirty"] for worker in made] == [True] * 3  # sweeps.db stands there
    assert made[0]["environment"]["packages"]["torch"]
    shown = sweeps("show", "small", "2").out
    assert f"commit {commits[1][:12]}" in shown
