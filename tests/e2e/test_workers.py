"""Several workers on one study, on SQLite and PostgreSQL; `test_faults.py` kills them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from studies import Drawn, Holding, StudyStorage, queries, register, schema
from tests.e2e.faults.scene import SLOW, Scene, wait_for
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


def leave_claimed(storage: StudyStorage, study_id: int) -> None:
    """Three trials that a worker had claimed, and drawn one in part, when it was killed."""
    dead = Holding(storage, register(storage, study_id))
    leases = dead.claim(3, places=4).leases
    half = Drawn(leases[1].trial_id, {"lr": (0.5, FloatDistribution(0.1, 1.0))})
    assert storage.draw([half], dead.fence) == set()
    with storage.engine.begin() as connection:  # its process is gone
        connection.execute(schema.workers.update().values(started=1.0))
