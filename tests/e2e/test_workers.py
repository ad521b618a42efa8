"""Several workers on one study, on SQLite and PostgreSQL; `test_faults.py` kills them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from studies import Drawn, Holding, StudyStorage, queries, register, schema
from studies.pulse import read_pulse
from tests.e2e.conftest import Done
from tests.e2e.faults.scene import SLOW, WITHOUT_END, Scene, wait_for
from tests.e2e.runs import write


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, database_url) as scene:
        yield scene


def test_what_a_dead_worker_had_claimed_is_drawn_and_trained_by_the_others(scene: Scene) -> None:
    leave_claimed(scene.storage, scene.planned(SLOW, 8))
    workers = [scene.worker(1.0) for _ in range(2)]
    said = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    trials = scene.trials()
    assert [trial.number for trial in trials] == list(range(8))
    assert len(scene.ended()) == 8
    attempts = scene.lease_column("attempt")
    assert [attempts[number] for number in range(8)] == [2, 2, 2, 1, 1, 1, 1, 1]
    assert all("config" in trial.user_attrs and "lr" not in trial.params for trial in trials)
    assert trials[0].user_attrs["origin"] == "baseline"


def test_ctrl_c_drains_every_worker(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path, SLOW)
    run = start("run", "sweep.yaml", "--tracking", "none", "--workers", "2")
    wait_for(lambda: (tmp_path / "sweeps.db").exists() and run.poll() is None)
    with Scene(tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}") as scene:
        wait_for(lambda: len(scene.running()) == 2)
        os.kill(run.pid, signal.SIGINT)
        out, _ = run.communicate(timeout=60)
        assert run.returncode == 130, out
        assert "draining: each worker ends its epoch" in out
        assert scene.running() == []
        assert queries.status(scene.storage, "small").status == "drained"
        assert {t.state for t in scene.trials()} >= {TrialState.WAITING}


def test_status_shows_what_two_workers_do_in_numbers(
    sweeps: Callable[..., Done], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path, SLOW.replace("run_cap: 12", f"run_cap: {WITHOUT_END}"))
    beats = ("--lease-seconds", "1")
    run = start("run", "sweep.yaml", "--tracking", "none", "--workers", "2", *beats)
    wait_for(lambda: (tmp_path / "sweeps.db").exists() and run.poll() is None)
    with Scene(tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}") as scene:
        wait_for(lambda: len(scene.running()) == 2)
        study_id = scene.storage.get_study_id_from_name("small")

        def trained() -> list[int]:
            workers = read_pulse(scene.storage, study_id).workers
            return [numbers["steps"] for _, numbers in workers if numbers["steps"]]

        wait_for(lambda: len(trained()) == 2)
        shown = json.loads(sweeps("status", "small", "--json").out)
        table = sweeps("status", "small").out
        os.kill(run.pid, signal.SIGINT)
        run.communicate(timeout=60)
    leader, *workers = [worker["numbers"] for worker in shown["workers"]]
    assert leader is None
    assert [(one["models"], one["lanes"]) for one in workers] == [(1, 1)] * 2
    both = shown["numbers"]
    assert (both["models"], both["lanes"]) == (2, 2)
    for each in (*workers, both):
        assert each["steps"] > 0
        assert each["examples"] == 4 * each["steps"]
        assert each["examples_per_second"] == pytest.approx(4 * each["steps_per_second"])
        assert all(0 <= share <= 1 for share in each["shares"].values())
        assert each["shares"]["training"] > 0
        assert sum(each["shares"].values()) <= 1 + 1e-9
    assert both["steps"] == sum(one["steps"] for one in workers)
    assert "steps/s" in table
    assert "1/1" in table


def leave_claimed(storage: StudyStorage, study_id: int) -> None:
    """Three trials that a worker had claimed, and drawn one in part, when it was killed."""
    dead = Holding(storage, register(storage, study_id))
    leases = dead.claim(3, places=4).leases
    half = Drawn(leases[1].trial_id, {"lr": (0.5, FloatDistribution(0.1, 1.0))})
    assert storage.draw([half], dead.fence) == set()
    with storage.engine.begin() as connection:  # its process is gone
        connection.execute(schema.workers.update().values(started=1.0))
