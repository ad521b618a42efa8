"""The four commands that do the work, and how their figures are read."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.side_by_side.environments import prepare, versions
from benchmarks.side_by_side.watching import watch

SWEEP = Path(__file__).with_name("sweep.yaml")
OURS = ("sweeplane", "sweeplane untracked")
OPTUNA, RAY = "optuna", "ray"
NAMES = (*OURS, OPTUNA, RAY)
_OWN = ["mlflow", "optuna", "sqlalchemy", "scikit-learn"]
PACKAGES = {OPTUNA: ["optuna", "scikit-learn"], RAY: ["ray[tune]", "optuna", "scikit-learn"]}


@dataclass(frozen=True)
class Work:
    """What everyone does."""

    trials: int
    epochs: int
    lanes: int | str  # of Sweeplane
    seed: int
    target: float  # a validation loss


class Contenders:
    """Runs contenders, each in its environment; `here`: all in this process's one."""

    def __init__(self, names: Sequence[str], environments: Path, *, here: bool) -> None:
        self._pythons, self.versions = {}, {}
        for name in names:
            packages = PACKAGES.get(name, _OWN)
            own = name in OURS or here
            python = Path(sys.executable) if own else prepare(environments / name, packages)
            self._pythons[name] = python
            self.versions[name] = versions(python, packages)

    def run(self, name: str, work: Work, folder: Path) -> dict[str, Any]:
        """Do the work in an empty folder; return the figures.

        Raises:
            RuntimeError: the command failed, or not all trials have run.
        """
        command, database = self._command(name, work, folder)
        environment = dict(os.environ)
        if name == RAY:
            environment |= {"HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
        reached = _by_file(folder) if database is None else _by_database(database, work.target)
        watched = watch(command, environment, reached)
        found = _told(name, watched.output)
        if database is not None:
            found["trials"], found["epochs"] = _counted(database)
        if found["trials"] != work.trials:
            raise RuntimeError(f"{name} ran {found['trials']} trials instead of {work.trials}")
        return {
            "seconds": watched.seconds,
            "seconds to target": watched.target_seconds,
            "best validation loss": found["best"],
            "test accuracy": found["test_accuracy"],
            "epochs": found["epochs"],
            "peak MB": None if watched.peak_bytes is None else watched.peak_bytes / 1e6,
        }

    def _command(self, name: str, work: Work, folder: Path) -> tuple[list[str | Path], Path | None]:
        """Return the command, and the study DB that it fills."""
        python, numbers = self._pythons[name], [str(work.trials), str(work.epochs), str(work.seed)]
        if name in OURS:
            database = folder / "sweeps.db"
            file = _sweep_file(work, folder)
            tracking = f"sqlite:///{folder}/mlflow.db" if name == OURS[0] else "none"
            run = [python, "-m", "sweeps", "run", file, "--storage", f"sqlite:///{database}"]
            return [*run, "--tracking", tracking, "--json"], database
        script = [python, "-m", f"benchmarks.side_by_side.with_{name}", folder, *numbers]
        if name == OPTUNA:
            return script, folder / "optuna.db"
        return [*script, str(work.target)], None


def _sweep_file(work: Work, folder: Path) -> Path:
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(SWEEP.read_text())
    content |= {"run_cap": work.trials, "epochs": work.epochs}
    content |= {"lanes": work.lanes, "seed": work.seed}
    file = folder / "sweep.yaml"
    with file.open("w") as stream:
        yaml.dump(content, stream)
    return file


def _told(name: str, output: str) -> dict[str, Any]:
    """Return the figures that a command prints as JSON, those of others on the last line."""
    if name not in OURS:
        told: dict[str, Any] = json.loads(output.splitlines()[-1])
        return told
    best = json.loads(output)["best"]
    return {"best": best["value"], "test_accuracy": best["test"]["test/accuracy"]}


def _by_file(folder: Path) -> Callable[[], bool]:
    return (folder / "reached").exists


def _by_database(database: Path, target: float) -> Callable[[], bool]:
    """Return a look at a study DB, Optuna's tables in both, for a report as good as the target."""
    query = "SELECT 1 FROM trial_intermediate_values WHERE intermediate_value <= ? LIMIT 1"

    def reached() -> bool:
        try:
            return bool(_ask(database, query, target))
        except sqlite3.OperationalError:  # it is not there yet
            return False

    return reached


def _counted(database: Path) -> tuple[int, int]:
    """Return how many trials have ended and how many epochs they were trained."""
    [[trials]] = _ask(database, "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')")
    [[epochs]] = _ask(database, "SELECT count(*) FROM trial_intermediate_values")
    return trials, epochs


def _ask(database: Path, query: str, *values: float) -> list[Any]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()
