"""Several workers on one study, killed, paused and started again, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from studies import (
    Drawn,
    Holding,
    StudyStorage,
    live_workers,
    open_storage,
    queries,
    register,
    schema,
)
from studies.roster import Worker
from sweeps.launch import open_sweep
from sweeps.plan import plan
from sweeps.spec import load_spec
from tests.e2e.runs import SWEEP, write

KILLS = int(os.environ.get("SWEEPLANE_WORKER_KILLS", "1"))
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
SLOW = SWEEP.replace("task: iris-mlp", "task: slow.py:make")
SLOW += "batch_size: 4\nearly_terminate: none\n"  # 0.6 s a trial


@pytest.fixture
def storage(database_url: str) -> Iterator[StudyStorage]:
    with open_storage(database_url) as opened:
        yield opened


def test_killed_workers_lose_nothing_and_the_budget_is_exact(
    sweeps: Callable[..., Any],
    start: Callable[..., subprocess.Popen[str]],
    storage: StudyStorage,
    database_url: str,
    tmp_path: Path,
) -> None:
    """SIGKILL, `SWEEPLANE_WORKER_KILLS` times, of one of four workers at random moments,
    while another lives."""
    budget = 14 + 6 * KILLS
    write(tmp_path, SLOW.replace("run_cap: 12", f"run_cap: {budget}"))
    dice = random.Random(seed := random.randrange(10**6))
    command = ["run", "sweep.yaml", "--tracking", "none", "--storage", database_url]
    run = start(*command, "--workers", "4", "--lease-seconds", "2")
    held: Counter[int] = Counter()
    for kill in range(KILLS):
        wait_for(
            lambda goal=2 + 4 * kill: (
                (len(ended(storage)) >= goal and len(trainers(storage)) > 1)
                or run.poll() is not None
            )
        )
        assert run.poll() is None, run.communicate()[0]
        before = ended(storage)
        time.sleep(dice.random() * 0.5)  # anywhere between two transactions
        victim = dice.choice(trainers(storage))
        os.kill(victim.process.pid, signal.SIGKILL)
        held.update(holds(storage, victim))
        wait_for(lambda who=victim: not holds(storage, who), 2 + 5)
        assert {n: t for n, t in ended(storage).items() if n in before} == before, seed
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, out
    assert f"Ended: all {budget} trials have run." in out
    assert "was killed by SIGKILL; it is started again in" in out
    check_exact(storage, budget, f"seed {seed}")
    attempts = lease_column(storage, "attempt")
    assert {n: a - 1 for n, a in attempts.items() if a > 1} == held, f"seed {seed}"
    again = sweeps("worker", "--study", "small", "--storage", database_url)
    assert again.code == 0, again.err
    assert f"Ended: all {budget} trials have run." in again.out
    check_exact(storage, budget, f"seed {seed}")
    status = queries.status(storage, "small")
    assert (status.status, status.workers) == ("finished", [])


def test_a_worker_paused_beyond_its_lease_writes_nothing_and_goes_on(
    start: Callable[..., subprocess.Popen[str]],
    storage: StudyStorage,
    database_url: str,
    tmp_path: Path,
) -> None:
    """What a worker had claimed, but not drawn, when it was killed is trained by the others too."""
    study_id = planned(tmp_path, database_url, 12)
    leave_claimed(storage, study_id)
    command = ["worker", "--study", "small", "--storage", database_url, "--lease-seconds", "1"]
    workers = [start(*command) for _ in range(2)]
    wait_for(lambda: len(trainers(storage)) == 2)
    paused = next(w for w in trainers(storage) if w.process.pid == workers[0].pid)
    wait_for(lambda: bool(holds(storage, paused)))
    os.kill(workers[0].pid, signal.SIGSTOP)
    (number,) = holds(storage, paused) or (None,)
    token = lease_column(storage, "token")
    if number is not None:  # it was stopped in the middle of a trial
        wait_for(lambda: number in ended(storage))
        taken_over = ended(storage)[number]
        assert lease_column(storage, "token")[number] > token[number]
    os.kill(workers[0].pid, signal.SIGCONT)
    said = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    check_exact(storage, 12)
    if number is not None:
        assert ended(storage)[number] == taken_over
        curves = queries.curves(storage, "small", {number})[number]
        assert [step for step, _ in curves["valid/accuracy"]] == list(
            range(1, len(taken_over.intermediate_values) + 1)
        )
    by_worker = lease_column(storage, "worker_id").values()
    assert len(set(by_worker)) == 2
    trials = trials_of(storage)
    assert all("config" in trial.user_attrs and "lr" not in trial.params for trial in trials)
    assert trials[0].user_attrs["origin"] == "baseline"


def test_ctrl_c_drains_every_worker(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path, SLOW)
    run = start("run", "sweep.yaml", "--tracking", "none", "--workers", "2")
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    wait_for(lambda: (tmp_path / "sweeps.db").exists() and run.poll() is None)
    with open_storage(url) as storage:
        wait_for(lambda: len(running(storage)) == 2)
        os.kill(run.pid, signal.SIGINT)
        out, _ = run.communicate(timeout=60)
        assert run.returncode == 130, out
        assert "draining: each worker ends its epoch" in out
        assert running(storage) == []
        assert queries.status(storage, "small").status == "drained"
        assert {t.state for t in trials_of(storage)} >= {TrialState.WAITING}


def planned(folder: Path, url: str, budget: int) -> int:
    """A study that `sweeps run` has planned, and nobody works on."""
    write(folder, SLOW.replace("run_cap: 12", f"run_cap: {budget}"))
    with (sweep := open_sweep(load_spec(folder / "sweep.yaml"), url, "small")).storage:
        plan(sweep)
        return sweep.study_id


def leave_claimed(storage: StudyStorage, study_id: int) -> None:
    """Three trials that a worker had claimed, and drawn one in part, when it was killed."""
    dead = Holding(storage, register(storage, study_id))
    leases = dead.claim(3, places=4).leases
    half = Drawn(leases[1].trial_id, {"lr": (0.5, FloatDistribution(0.1, 1.0))})
    assert storage.draw([half], dead.fence) == set()
    with storage.engine.begin() as connection:  # its process is gone
        connection.execute(schema.workers.update().values(started=1.0))


def check_exact(storage: StudyStorage, budget: int, where: str = "") -> None:
    """The numbers are 0, 1, 2, ..., and exactly `budget` trials hold a place."""
    trials = trials_of(storage)
    assert [trial.number for trial in trials] == list(range(len(trials))), where
    assert len(ended(storage)) == len(trials) == budget, where


def trials_of(storage: StudyStorage) -> list[FrozenTrial]:
    try:
        study_id = storage.get_study_id_from_name("small")
    except KeyError:  # not there yet
        return []
    return storage.get_all_trials(study_id, deepcopy=False)


def ended(storage: StudyStorage) -> dict[int, FrozenTrial]:
    return {trial.number: trial for trial in trials_of(storage) if trial.state in ENDED}


def running(storage: StudyStorage) -> list[int]:
    return [trial.number for trial in trials_of(storage) if trial.state == TrialState.RUNNING]


def trainers(storage: StudyStorage) -> list[Worker]:
    """The workers that live and train."""
    if not trials_of(storage):
        return []
    study_id = storage.get_study_id_from_name("small")
    return [worker for worker in live_workers(storage, study_id) if worker.lanes]


def holds(storage: StudyStorage, worker: Worker) -> list[int]:
    """The numbers of the RUNNING trials that a worker holds."""
    ids = select(schema.leases.c.trial_id).where(
        schema.leases.c.worker_id == worker.worker_id, schema.leases.c.expires_at.is_not(None)
    )
    with storage.engine.connect() as connection:
        found = set(connection.scalars(ids))
    return [
        t.number for t in trials_of(storage) if t._trial_id in found and not t.state.is_finished()
    ]


def lease_column(storage: StudyStorage, name: str) -> dict[int, int]:
    numbers = {trial._trial_id: trial.number for trial in trials_of(storage)}
    with storage.engine.connect() as connection:
        rows = connection.execute(select(schema.leases)).mappings().all()
    return {numbers[row["trial_id"]]: row[name] for row in rows}


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
