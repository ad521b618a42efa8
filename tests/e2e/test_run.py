"""`sweeps run` as a user runs it: results, three stores that agree, kills, Ctrl-C, repeats."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.config import Config

KILLS = int(os.environ.get("SWEEPLANE_KILLS", "5"))

SWEEP = """
name: small
task: iris-mlp
optimizer: [adamw, sgd]
schedule: [cosine, plateau]
metric: {name: valid/accuracy, goal: maximize}
epochs: 6
run_cap: 12
seed: 3
"""

SLOW_TASK = """
import time
import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from torch import nn
from sweeps import Task


class Slow(nn.Linear):
    def forward(self, x):
        if self.training:
            time.sleep(0.002)
        return super().forward(x)


def make():
    x, y = (torch.from_numpy(array) for array in load_iris(return_X_y=True))
    x = x.float()
    return Task(model=lambda: Slow(4, 3), train=(x, y), valid=(x, y), loss=F.cross_entropy)
"""


def write(folder: Path, text: str = SWEEP, name: str = "sweep.yaml") -> None:
    (folder / name).write_text(text)
    (folder / "slow.py").write_text(SLOW_TASK)


def exported(sweeps: Callable[..., Any], study: str = "small") -> list[dict[str, Any]]:
    done = sweeps("export", study)
    assert done.code == 0, done.err
    trials: list[dict[str, Any]] = json.loads(done.out)["trials"]
    return trials


def comparable(trial: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in trial.items() if key != "seconds"}


def test_a_run_ends_with_its_answers(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path)
    done = sweeps("run", "sweep.yaml")
    assert done.code == 0, done.err
    for part in (
        "Study 'small' created in sqlite:///sweeps.db",
        "Ended: all 12 trials have run.",
        "12/12 trials",
        "Leaderboard, best first   (* your baseline)",
        "Your baseline -> best",
        "test/accuracy",
        "optimizer = torch.optim.",
        "sweeps ui",
    ):
        assert part in done.out
    trials = exported(sweeps)
    assert [trial["number"] for trial in trials] == list(range(12))
    assert {trial["outcome"] for trial in trials} <= {"complete", "pruned", "diverged"}
    complete = [trial for trial in trials if trial["outcome"] == "complete"]
    for trial in complete:
        curve = [value for _, value in trial["curves"]["valid/accuracy"]]
        assert trial["value"] == max(curve)
        assert [epoch for epoch, _ in trial["curves"]["train/loss"]] == [1, 2, 3, 4, 5, 6]
        assert set(trial["test"]) == {"test/loss", "test/accuracy"}
    winner = max(trial["value"] for trial in complete)
    assert f"{winner:.4g}" in done.out


def test_reading_commands(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path)
    ran = sweeps("run", "sweep.yaml", "--tracking", "none", "--json")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    trials = exported(sweeps)
    best = max((t for t in trials if t["outcome"] == "complete"), key=lambda t: float(t["value"]))
    assert summary["best"]["value"] == best["value"]
    assert summary["baseline"]["params"]["lr"] == 0.001
    assert summary["baseline"]["params"]["schedule"] == "constant"

    listed = json.loads(sweeps("list", "--json").out)
    assert [(s["name"], s["status"], s["trials"]) for s in listed] == [("small", "finished", 12)]
    status = json.loads(sweeps("status", "small", "--json").out)
    assert sum(status["outcomes"].values()) == 12
    assert status["best"][1] == best["value"]
    shown = json.loads(sweeps("show", "small", str(best["number"]), "--json").out)
    assert shown["curves"] == best["curves"]
    assert "▁" in sweeps("show", "small", str(best["number"])).out

    pasted = sweeps("best", "small")
    assert pasted.code == 0
    assert "optimizer = torch.optim." in pasted.out
    assert "baseline:" in pasted.out
    rows = list(csv.DictReader(io.StringIO(sweeps("export", "small", "--format", "csv").out)))
    assert [int(row["number"]) for row in rows] == list(range(12))
    assert float(rows[0]["params.lr"]) == 0.001
    assert sweeps("export", "small", "--format", "parquet", "-o", "s.parquet").code == 0
    import pandas as pd

    frame = pd.read_parquet(tmp_path / "s.parquet")
    assert frame["curve.valid/accuracy"][0].tolist() == [
        value for _, value in trials[0]["curves"]["valid/accuracy"]
    ]
    again = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert again.code == 0
    assert "Study 'small' resumed" in again.out
    assert len(exported(sweeps)) == 12


def test_the_pasted_yaml_is_a_baseline_that_gives_the_same_curve(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    """What `sweeps best` prints stands in a next file: same configuration, same trial."""
    write(tmp_path, SWEEP.replace("metric:", "early_terminate: none\nmetric:"))
    found = json.loads(sweeps("run", "sweep.yaml", "--tracking", "none", "--json").out)
    text = (
        "name: next\ntask: iris-mlp\noptimizer: [adamw, sgd]\nschedule: [cosine, plateau]\n"
        "metric: {name: valid/accuracy, goal: maximize}\nepochs: 6\nrun_cap: 1\n"
    )
    write(tmp_path, text + found["yaml"] + "\n", "next.yaml")
    done = sweeps("run", "next.yaml", "--tracking", "none", "--json")
    assert done.code == 0, done.err
    params = json.loads(done.out)["baseline"]["params"]
    for name, value in found["best"]["params"].items():
        expected = value if isinstance(value, str | bool) else pytest.approx(value, rel=1e-5)
        assert params[name] == expected


def test_optuna_export_and_mlflow_agree_on_every_trial(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    text = SWEEP + "parameters: {sgd: {parameters: {lr: {values: [0.1, 1.0e+30]}}}}\n"
    write(tmp_path, text)
    assert sweeps("run", "sweep.yaml").code == 0
    trials = exported(sweeps)
    assert any(trial["outcome"] == "diverged" for trial in trials)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/sweeps.db")
    runs = mlflow_runs(tmp_path)
    assert len(study.trials) == len(trials) == len(runs) == 12
    for trial, frozen in zip(trials, study.trials, strict=True):
        run = runs[trial["number"]]
        assert frozen.number == trial["number"]
        assert frozen.state.name == trial["state"]
        assert frozen.params == trial["sampled"]
        assert frozen.value == trial["value"]
        curve = {epoch: number(value) for epoch, value in trial["curves"]["valid/accuracy"]}
        assert frozen.intermediate_values == pytest.approx(curve, nan_ok=True)
        config = Config.from_json(frozen.user_attrs["config"])
        assert dict(config.flat()) == trial["params"]
        assert run["params"] == {name: str(value) for name, value in trial["params"].items()}
        assert run["status"] == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[trial["state"]]
        assert run["tags"]["outcome"] == trial["outcome"]
        for name, points in trial["curves"].items():
            if name.startswith("test/"):
                continue
            sent = dict(run["metrics"][name])
            assert sent == pytest.approx({e: number(v) for e, v in points}, nan_ok=True), name
        for name, value in trial["test"].items():
            assert run["metrics"][name][-1][1] == pytest.approx(value)


def number(value: float | str) -> float:
    return float(value)


def mlflow_runs(folder: Path) -> dict[int, dict[str, Any]]:
    """Every child run in the MLflow store, by trial number."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    children = {}
    for run in found:
        if run is parents[0]:
            continue
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        history = {
            name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        children[int(run.data.tags["trial"])] = {
            "params": run.data.params,
            "status": run.info.status,
            "tags": run.data.tags,
            "metrics": history,
        }
    return children


OWN = """
from pathlib import Path
import torch.nn.functional as F
import torch
from torch import nn
from sweeps import Task

X = torch.linspace(-1, 1, 40).unsqueeze(1)


def make(width):
    def model():
        with Path("widths.txt").open("a") as file:
            file.write(f"{width}\\n")
        return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
    return Task(model=model, train=(X, X**2), valid=(X, X**2), loss=F.mse_loss)
"""


def test_a_searched_argument_of_the_users_factory_builds_the_model(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    write(
        tmp_path,
        "name: own\ntask: own.py:make\nepochs: 1\nbatch_size: 8\nrun_cap: 8\n"
        "baseline: false\nmethod: random\nparameters: {width: {values: [3, 5, 7]}}\n",
    )
    done = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert done.code == 0, done.err
    widths = [int(line) for line in (tmp_path / "widths.txt").read_text().split()]
    assert [trial["params"]["width"] for trial in exported(sweeps, "own")] == widths
    assert len(set(widths)) > 1


def test_the_same_file_gives_the_same_trials(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("one", "two"):
        assert sweeps("run", "sweep.yaml", "--name", name, "--tracking", "none").code == 0
    first, second = exported(sweeps, "one"), exported(sweeps, "two")
    assert [comparable(t) for t in first] == [comparable(t) for t in second]
    write(tmp_path, SWEEP.replace("seed: 3", "seed: 4"))
    assert sweeps("run", "sweep.yaml", "--name", "other", "--tracking", "none").code == 0
    assert [t["sampled"] for t in exported(sweeps, "other")] != [t["sampled"] for t in first]


def test_postgresql_gives_the_same_trials_as_sqlite(
    sweeps: Callable[..., Any], tmp_path: Path, postgres_db: str
) -> None:
    write(tmp_path)
    assert sweeps("run", "sweep.yaml", "--tracking", "none").code == 0
    there = {"SWEEPS_STORAGE": postgres_db}
    done = sweeps("run", "sweep.yaml", "--tracking", "none", **there)
    assert done.code == 0, done.err
    assert "Ended: all 12 trials have run." in done.out
    trials = json.loads(sweeps("export", "small", **there).out)["trials"]
    assert [comparable(t) for t in trials] == [comparable(t) for t in exported(sweeps)]


def test_kill_at_random_moments_loses_nothing(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """SIGKILL, `SWEEPLANE_KILLS` times, at random moments of the sweep; then it runs to its end.

    No finished trial is lost or changed, no number comes twice, the budget is met exactly, and the
    trials are those of a sweep that nobody killed.
    """
    trials_in_all = 8 * KILLS  # more than are run between the kills
    write(tmp_path, SWEEP.replace("run_cap: 12", f"run_cap: {trials_in_all}"))
    database = tmp_path / "sweeps.db"
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    finished: dict[int, dict[str, Any]] = {}
    for _ in range(KILLS):
        process = start("run", "sweep.yaml", "--tracking", "none")
        goal = len(finished) + dice.randint(1, 5)
        wait_for(partial(finished_or_ended, database, goal, process), 60)
        time.sleep(dice.random() * 0.05)  # anywhere between two transactions
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = {t["number"]: t for t in exported(sweeps)}
        for known, trial in finished.items():
            assert now[known] == trial, f"seed {seed}"
        finished = {n: t for n, t in now.items() if t["state"] in ("COMPLETE", "PRUNED")}
    assert sweeps("run", "sweep.yaml", "--tracking", "none").code == 0
    trials = exported(sweeps)
    assert [t["number"] for t in trials] == list(range(trials_in_all)), f"seed {seed}"
    assert {t["state"] for t in trials} <= {"COMPLETE", "PRUNED"}
    assert sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm").code == 0
    calm = exported(sweeps, "calm")
    assert [comparable(t) for t in trials] == [comparable(t) for t in calm], f"seed {seed}"


def test_a_second_runner_is_refused_and_a_dead_one_replaced(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path, SWEEP.replace("task: iris-mlp", "task: slow.py:make") + "batch_size: 2\n")
    process = start("run", "sweep.yaml", "--tracking", "none")
    wait_for(lambda: count_trials(tmp_path / "sweeps.db", "RUNNING") == 1, 60)
    refused = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert refused.code == 2
    assert f"is being run by process {process.pid}" in refused.err
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "which is gone" in sweeps("status", "small").out


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_drains_and_the_same_command_goes_on(
    sweeps: Callable[..., Any],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    name: str,
) -> None:
    text = SWEEP.replace("task: iris-mlp", "task: slow.py:make").replace(
        "run_cap: 12", "run_cap: 3"
    )
    write(tmp_path, text)
    process = start("run", "sweep.yaml", "--tracking", "none")
    wait_for(lambda: count_finished(tmp_path / "sweeps.db") >= 1, 60)
    os.kill(process.pid, signal.Signals[name])
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "Ended: drained by a signal" in out
    states = [t["state"] for t in exported(sweeps)]
    assert "RUNNING" not in states
    assert json.loads(sweeps("status", "small", "--json").out)["status"] == "drained"
    assert sweeps("run", "sweep.yaml", "--tracking", "none").code == 0
    assert sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm").code == 0
    drained, calm = exported(sweeps), exported(sweeps, "calm")
    assert [comparable(t) for t in drained] == [comparable(t) for t in calm]


def test_a_second_signal_ends_it_at_once(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """An epoch here takes minutes; the next run hands back what two signals left."""
    text = SWEEP.replace("task: iris-mlp", "task: slow.py:make") + "batch_size: 1\n"
    write(tmp_path, text)
    (tmp_path / "slow.py").write_text(SLOW_TASK.replace("0.002", "2.0"))
    process = start("run", "sweep.yaml", "--tracking", "none")
    wait_for(lambda: count_trials(tmp_path / "sweeps.db", "RUNNING") == 1, 60)
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout is not None
    while "draining: the epoch ends" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert "no complete trial yet" in sweeps("best", "small").err
    assert [t["state"] for t in exported(sweeps)] == ["RUNNING"]
    (tmp_path / "slow.py").write_text(SLOW_TASK.replace("0.002", "0"))
    assert sweeps("run", "sweep.yaml", "--tracking", "none").code == 0
    assert "RUNNING" not in [t["state"] for t in exported(sweeps)]


def test_five_failures_in_a_row_stop_the_sweep(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SWEEP.replace("task: iris-mlp", "task: broken.py:make"))
    (tmp_path / "broken.py").write_text(
        SLOW_TASK.replace("time.sleep(0.002)", "raise RuntimeError('no luck')")
    )
    done = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert done.code == 1
    assert "5 trials in a row failed with one cause: RuntimeError: no luck" in done.err
    shown = sweeps("show", "small", "0")
    assert "failed, RuntimeError: no luck" in shown.out
    assert "raise RuntimeError('no luck')" in shown.out  # its traceback
    (tmp_path / "broken.py").write_text(SLOW_TASK.replace("0.002", "0"))
    assert sweeps("run", "sweep.yaml", "--tracking", "none").code == 0
    states = [t["outcome"] for t in exported(sweeps)]
    assert states[:5] == ["failed"] * 5
    assert sum(state != "failed" for state in states) == 12


def count_finished(database: Path) -> int:
    return count_trials(database, "COMPLETE") + count_trials(database, "PRUNED")


def count_trials(database: Path, state: str) -> int:
    if not database.exists():
        return 0
    connection = sqlite3.connect(database, timeout=30)
    try:
        query = "SELECT count(*) FROM trials WHERE state = ?"
        return int(connection.execute(query, (state,)).fetchone()[0])
    except sqlite3.OperationalError:  # the tables are not there yet
        return 0
    finally:
        connection.close()


def finished_or_ended(database: Path, goal: int, process: subprocess.Popen[str]) -> bool:
    return count_finished(database) >= goal or process.poll() is not None


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)
