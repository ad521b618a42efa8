"""Everything that a user can get wrong: exit code 2, every fault named, nothing created."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.e2e.conftest import environment

CPU_SECONDS = 2.0

GOOD = "task: iris-mlp\nrun_cap: 2\n"

FILES = {
    "unknown key": (
        "task: iris-mlp\noptimzer: adamw\n",
        ["bad.yaml:2:", "'optimzer' is unknown", "did you mean 'optimizer'?"],
    ),
    "unknown optimizer": (
        "task: iris-mlp\noptimizer: [sgd, adamv]\n",
        ["bad.yaml:2:", "'adamv'", "did you mean 'adam", "sgdw"],
    ),
    "min above max": (
        "task: iris-mlp\nparameters:\n  lr: {min: 0.1, max: 0.01}\n",
        ["bad.yaml:3:", "min", "max", "0.1", "0.01"],
    ),
    "log with zero": (
        "task: iris-mlp\nparameters:\n  lr: {distribution: log_uniform_values, min: 0, max: 0.1}\n",
        ["bad.yaml:3:", "lr", "min", "0"],
    ),
    "probabilities": (
        "task: iris-mlp\nparameters:\n"
        "  weight_decay: {values: [0, 0.1], probabilities: [0.5, 0.6]}\n",
        ["bad.yaml:3:", "probabilities", "1.1"],
    ),
    "neither task nor program": ("name: x\n", ["bad.yaml:1:", "task", "program"]),
    "both task and program": (
        "task: iris-mlp\nprogram: train.py\n",
        ["bad.yaml:2:", "program", "task", "line 1"],
    ),
    "task that cannot be imported": (
        "task: broken.py:make\n",
        ["bad.yaml:1:", "ZeroDivisionError: division by zero", "broken.py"],
    ),
    "task without a module": (
        "task: no_such_module_here:make\n",
        ["bad.yaml:1:", "ModuleNotFoundError: No module named 'no_such_module_here'"],
    ),
    "an empty file": ("", ["bad.yaml", "empty"]),
    "a YAML syntax error": ("task: [iris-mlp\noptimizer: adamw\n", ["bad.yaml:2:"]),
    "a key twice": ("task: iris-mlp\nseed: 1\nseed: 2\n", ["bad.yaml:3:", "seed"]),
    "a grid over a continuous range": (
        "task: iris-mlp\nmethod: grid\nparameters:\n  lr: {min: 0.1, max: 0.5}\n",
        ["bad.yaml:4:", "lr", "grid"],
    ),
    "a parameter of nobody": (
        "task: iris-mlp\nparameters:\n  hiden: 3\n",
        ["bad.yaml:3:", "'hiden'", "did you mean 'hidden'?"],
    ),
    "another tool's key": (
        "task: iris-mlp\nmaxTrialCount: 3\n",
        ["bad.yaml:2:", "maxTrialCount", "run_cap"],
    ),
    "many at once": (
        "task: iris-mlp\noptimizer: adamv\nschedule: cosin\nmethod: tpee\nrun_cap: 0\n"
        "parameters: {lr: {min: 2, max: 1}}\n",
        ["bad.yaml:2:", "bad.yaml:3:", "bad.yaml:4:", "bad.yaml:5:", "bad.yaml:6:"],
    ),
}


def refused(done: Any, folder: Path, before: set[str], expected: list[str]) -> None:
    assert done.code == 2, done.err
    for part in expected:
        assert part in done.err, done.err
    assert "Traceback" not in done.err
    assert set(os.listdir(folder)) == before
    assert done.cpu_seconds < CPU_SECONDS


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file(sweeps: Callable[..., Any], tmp_path: Path, case: str, command: str) -> None:
    content, expected = FILES[case]
    (tmp_path / "bad.yaml").write_text(content)
    (tmp_path / "broken.py").write_text("\n\n1 / 0\n")
    before = set(os.listdir(tmp_path))
    refused(sweeps(command, "bad.yaml", PYTHONDONTWRITEBYTECODE="1"), tmp_path, before, expected)


STORAGES = {
    "no driver": (
        "postgresql+psycopg2://u:hush@127.0.0.1/x",
        ["the driver of 'postgresql+psycopg2' is not installed", "postgresql+psycopg://"],
    ),
    "unknown dialect": ("postgress+psycopg://u:hush@127.0.0.1/x", ["postgress", "Did you mean"]),
    "not a URL": ("sweeps.db", ["sweeps.db", "sqlite:///"]),
    "no server": ("postgresql+psycopg://u:hush@127.0.0.1:9/x", ["127.0.0.1:9"]),
    "missing folder": ("sqlite:///no/such/folder/s.db", ["no/such/folder", "does not exist"]),
    "a file that is no database": ("sqlite:///text.db", ["text.db", "not a database"]),
}


@pytest.mark.parametrize("case", STORAGES)
def test_a_wrong_storage(sweeps: Callable[..., Any], tmp_path: Path, case: str) -> None:
    url, expected = STORAGES[case]
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "text.db").write_text("this is not a database, it is a text file\n" * 9)
    before = set(os.listdir(tmp_path))
    done = sweeps("run", "good.yaml", "--storage", url, "--tracking", "none")
    refused(done, tmp_path, before, expected)
    assert "hush" not in done.err + done.out


OWN_TASK = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sweeps import Task

X, Y = torch.randn(60, 4), torch.arange(60) % 3

def tensors(width=4):
    return Task(model=lambda: nn.Linear(width, 3), train=(X, Y), valid=(X, Y), loss=F.cross_entropy)

def loader():
    data = DataLoader(TensorDataset(X, Y), batch_size=20)
    return Task(model=lambda: nn.Linear(4, 3), train=data, valid=(X, Y), loss=F.cross_entropy)

def broken():
    raise OSError("no data here")

def other():
    return 3
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: own.py:tensors\nbatch_size: 61\n", "batch_size 61 is larger than the 60"),
        (
            "task: own.py:tensors\nparameters: {batch_size: {values: [8, 64]}}\n",
            "batch_size 64 is larger than the 60",
        ),
        (
            "task: own.py:tensors\nbaseline: {batch_size: 99}\n",
            "batch_size 99 is larger than the 60",
        ),
        ("task: own.py:loader\nbatch_size: 5\n", "trains from a DataLoader, whose batches have 20"),
        (
            "task: own.py:loader\nbaseline: {batch_size: 6}\n",
            "batch_size is 6, but task 'own.py:loader' trains from a DataLoader",
        ),
        (
            "task: own.py:tensors\ntask_args: {width: wide}\n",
            "task 'own.py:tensors': its model() raised TypeError",
        ),
        ("task: own.py:broken\n", "its factory raised OSError: no data here"),
        ("task: own.py:other\n", "its factory returned a int, not a sweeps.Task"),
        (
            "task: own.py:tensors\nmetric: {name: valid/acuracy, goal: maximize}\n",
            "metric 'valid/acuracy' is not measured by task 'own.py:tensors'; did you mean",
        ),
    ],
)
def test_what_only_the_task_itself_shows(
    sweeps: Callable[..., Any], tmp_path: Path, text: str, expected: str
) -> None:
    """Found by building the task, so a little later than a wrong file; nothing is created."""
    (tmp_path / "own.py").write_text(OWN_TASK)
    (tmp_path / "sweep.yaml").write_text(text)
    before = set(os.listdir(tmp_path))
    done = sweeps("run", "sweep.yaml", PYTHONDONTWRITEBYTECODE="1")
    assert done.code == 2, done.err
    assert expected in done.err
    assert set(os.listdir(tmp_path)) == before


def test_a_wrong_password_is_refused_and_never_printed(
    sweeps: Callable[..., Any], tmp_path: Path, postgres_password_url: str
) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    before = set(os.listdir(tmp_path))
    url = make_url(postgres_password_url).set(password="guessed")
    shown = url.render_as_string(hide_password=False)
    done = sweeps("run", "good.yaml", "--storage", shown, "--tracking", "none")
    refused(done, tmp_path, before, ["password authentication failed", "Check the user"])
    assert "guessed" not in done.err + done.out
    right = sweeps("list", "--storage", postgres_password_url)
    assert "holds no studies" in right.err


AS_NOBODY = """
import os
import joblib, sweeps.launch, sweeps.tracking.store, studies.storage
from sweeps.cli import main
main(["validate", "good.yaml"], standalone_mode=False)
if os.getuid() == 0:  # root may write anywhere; what it imports is open to it alone
    os.setgid(65534)
    os.setuid(65534)
main(["run", "good.yaml", "--tracking", "none"])
"""


def test_a_folder_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "good.yaml").write_text(GOOD)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        folder.chmod(0o755)
        assert done.returncode == 2, done.stderr
        assert f"the folder '{folder}' is not writable" in done.stderr
        assert os.listdir(folder) == ["good.yaml"]


def test_a_study_with_another_space(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(GOOD + "name: s\nepochs: 2\n")
    assert sweeps("run", "first.yaml", "--tracking", "none").code == 0
    (tmp_path / "second.yaml").write_text(
        GOOD + "name: s\nepochs: 3\nparameters: {lr: {min: 0.001, max: 0.1}}\n"
    )
    before = set(os.listdir(tmp_path))
    done = sweeps("run", "second.yaml", "--tracking", "none")
    refused(done, tmp_path, before, ["study 's' exists", "epochs: 2 -> 3", "lr", "--name s-2"])
    assert sweeps("run", "second.yaml", "--tracking", "none", "--name", "s-2").code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "missing.yaml"), "missing.yaml"),
        (("status", "nothing"), "sweeps.db' does not exist"),
        (("best",), "Missing argument 'STUDY'"),
        (("frob",), "No such command 'frob'"),
        (("validate", "good.yaml", "--plot", "--json"), "--plot draws in the terminal"),
        (("export", "s", "--format", "xml"), "'xml' is not one of"),
        (("run", "good.yaml", "--device", "cuda:99"), "device 'cuda:99' is not there"),
        (("run", "good.yaml", "--device", "gpu"), "device is 'gpu'; give auto, cpu, cuda"),
        (("run", "good.yaml", "--tracking", "mlflw:///x"), "mlflw"),
    ],
)
def test_a_wrong_command_line(
    sweeps: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    before = set(os.listdir(tmp_path))
    done = sweeps(*arguments)
    assert done.code == 2
    assert expected in done.err
    assert set(os.listdir(tmp_path)) == before


@pytest.fixture(scope="session")
def postgres_password_url(postgres_url: str) -> str:
    """A database whose user must give a password (SCRAM), on the tests' own server."""
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE careful LOGIN PASSWORD 'right' CREATEDB"))
        connection.execute(text("CREATE DATABASE careful OWNER careful"))
        rules = Path(connection.execute(text("SHOW hba_file")).scalar_one())
        rules.write_text("local all careful scram-sha-256\n" + rules.read_text())
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    url = make_url(postgres_url).set(username="careful", password="right", database="careful")
    return url.render_as_string(hide_password=False)
