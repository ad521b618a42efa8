"""`sweeps run` as a user runs it: results, stores that agree, repeats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.config import Config
from tests.e2e.runs import SWEEP, comparable, exported, write


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
        "name: own\ntask: own.py:make\nepochs: 1\nbatch_size: 8\nrun_cap: 8\nlanes: 1\n"
        "baseline: false\nmethod: random\nparameters: {width: {values: [3, 5, 7]}}\n",
    )
    done = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert done.code == 0, done.err
    first, *widths = map(int, (tmp_path / "widths.txt").read_text().split())
    assert first == 3  # built once to see that it works, before anything is written
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


ODD = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sweeps import Task

X, Y = torch.randn(40, 2), torch.arange(40) % 2
print("importing")

def make(widths=4):
    print("building")
    data = DataLoader(TensorDataset(X, Y), batch_size=20)
    return Task(model=lambda: nn.Linear(2, 2), train=data, valid=(X, Y), loss=F.cross_entropy)
"""


def test_odd_but_legitimate_tasks(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    """It prints, trains from a DataLoader, and searches values of several types."""
    (tmp_path / "own.py").write_text(ODD)
    text = "name: a b\ntask: own.py:make\nepochs: 1\nrun_cap: 6\nbaseline: false\n"
    write(tmp_path, text + "parameters: {widths: {values: [8, [8, 8], auto]}}\n")
    done = sweeps("run", "sweep.yaml", "--tracking", "none", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["ended"] == "all 6 trials have run"
    assert "building" in done.err
    trials = exported(sweeps, "a b")
    assert {trial["params"]["batch_size"] for trial in trials} == {20}
    assert sweeps("export", "a b", "--format", "parquet", "-o", "a.parquet").code == 0
    import pandas as pd

    frame = pd.read_parquet(tmp_path / "a.parquet")
    expected = [str(trial["params"]["widths"]) for trial in trials]
    assert frame["params.widths"].tolist() == expected


def test_the_next_commands_can_be_pasted_and_hold_no_password(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path, SWEEP.replace("run_cap: 12", "run_cap: 1"))
    tracking = "http://user:topsecret@127.0.0.1:9"
    done = sweeps(
        "run", "sweep.yaml", "--name", "a b", "--tracking", tracking,
        "--storage", "sqlite:///my results.db",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "topsecret" not in done.out + done.err
    assert "  sweeps status 'a b' --storage 'sqlite:///my results.db'" in done.out
    assert "  sweeps ui --tracking 'http://user:***@127.0.0.1:9'" in done.out
    shown = sweeps("status", "a b", "--storage", "sqlite:///my results.db")
    assert shown.code == 0
