"""A sweep in a real study DB, with a trial of every outcome, and real MLflow stores."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from studies import Finish, Report, StudyStorage, SweepRecord, create_sweep, open_storage
from sweeps.config import Config
from sweeps.tracking import store

METRIC = "valid/accuracy"
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass
class Study:
    """Writes trials as the sweep's feed does."""

    storage: StudyStorage
    study: optuna.Study
    study_id: int
    name: str

    def start(self, optimizer: str = "adamw", *, origin: str = "sampled", **args: Any) -> int:
        """Ask for a trial, or take one that waits, and return its id."""
        trial = self.study.ask()
        if "config" not in trial.user_attrs:
            lr = trial.suggest_float("lr", 1e-4, 0.1, log=True)
            config = Config(
                optimizer=optimizer,
                hypers={"lr": lr, "weight_decay": 0.1 + 0.2},
                switches={"decay": "decoupled"},
                schedule="cosine",
                schedule_hypers={"warmup_fraction": 0.05},
                average="none",
                epochs=3,
                batch_size=32,
                task_args=args,
            )
            trial.set_user_attr("config", config.to_json())
            trial.set_user_attr("origin", origin)
        return trial._trial_id

    def report(self, trial_id: int, epoch: int, objective: float, loss: float = 0.5) -> None:
        """Write one epoch."""
        values = {"valid/loss": loss, "train/loss": loss / 2}
        assert not self.storage.report([Report(trial_id, epoch, objective, values)])

    def end(
        self, trial_id: int, outcome: str, value: float | None = None, epochs: int = 3, **attrs: Any
    ) -> None:
        """End a trial; a complete one has test metrics."""
        if outcome == "complete":
            self.storage.report([Report(trial_id, epochs, None, {"test/accuracy": 0.8125})])
        known = {"outcome": outcome, "epochs": epochs, "seconds": 1.5, **attrs}
        values = None if value is None else [value]
        finish = Finish(trial_id, STATES[outcome], values, user_attrs=known)
        assert not self.storage.finish([finish])

    def train(self, values: list[float], **options: Any) -> int:
        """A whole trial that completes with the best of the values."""
        trial_id = self.start(**options)
        for epoch, value in enumerate(values, 1):
            self.report(trial_id, epoch, value)
        self.end(trial_id, "complete", max(values), len(values))
        return trial_id


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """An empty sweep "digits", to be maximized, in a fresh SQLite study DB."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    record = SweepRecord(
        spec_text="task: digits-mlp  # größer\n",
        spec_file="sweep.yaml",
        spec={"metric": {"name": METRIC, "goal": "maximize"}},
        space={"lr": {"log": [1e-4, 0.1]}},
        seed=7,
        environment={"python": "3.11"},
        git_commit="0123abcd",
        git_dirty=False,
    )
    with open_storage(f"sqlite:///{tmp_path / 'sweeps.db'}") as storage:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        sampler = optuna.samplers.RandomSampler(seed=1)
        loaded = optuna.load_study(study_name="digits", storage=storage, sampler=sampler)
        yield Study(storage, loaded, study_id, "digits")


@pytest.fixture
def full(study: Study) -> Study:
    """Trials 0 to 5: complete (the baseline), pruned, diverged, failed, running, waiting."""
    study.train([0.5, 0.625, 0.75], origin="baseline")
    pruned = study.start("sgd")
    study.report(pruned, 1, 0.25)
    study.end(pruned, "pruned", 0.25, epochs=1, reason="pruned at epoch 1")
    diverged = study.start(note="x" * 7000)
    study.report(diverged, 1, 0.125)
    study.report(diverged, 2, math.nan, loss=math.inf)
    study.storage.report([Report(diverged, 2, None, {"train/loss": math.nan})])
    study.end(diverged, "diverged", epochs=2, reason="non-finite at step 88", diverged_step=88)
    study.end(study.start(), "failed", epochs=0, reason="RuntimeError: out of memory")
    running = study.start()
    study.report(running, 1, 0.375)
    study.study.enqueue_trial({"lr": 0.01})
    return study


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A SQLite file with MLflow's tables and nothing else; making them takes 2 s."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    store.open_client(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


@pytest.fixture
def mlflow_db(tmp_path: Path, empty_mlflow: bytes) -> Path:
    """A fresh MLflow store's file."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_mlflow)
    return path


@pytest.fixture
def uri(mlflow_db: Path) -> str:
    """The tracking URI of `mlflow_db`."""
    return f"sqlite:///{mlflow_db}"
