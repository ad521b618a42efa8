"""A sweep over a script by the `sweeps` command: its ends, its kills, and what is left of both."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.runs import exported
from tests.waiting import wait_for

SCRIPT = """
import argparse, os, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--kind")
parser.add_argument("--lr", type=float, default=1.0)
given = parser.parse_args()
if given.kind == "fails":
    sys.exit("cannot read mysql://me:secret@host/db")
folder = os.environ["SWEEPS_TRIAL_DIR"]
with open(os.path.join(folder, "processes"), "a") as file:
    print(os.getpid(), file=file)
for epoch in range(1, 7):
    print(f"epoch={epoch} loss={epoch if given.kind == 'grows' else 1 / epoch}", flush=True)
    time.sleep(0.1)
    if epoch == 2 and given.kind in ("hangs", f"waits{len(open(file.name).readlines())}"):
        time.sleep(300)
"""
SWEEP = """
name: scripted
program: train.py
method: grid
metric: {{name: loss, goal: minimize, take: last}}
parameters:
  kind: {{values: {kinds}}}
budget: {{trial_time: {limit}}}
early_terminate: {{type: median, startup_trials: 1, min_epochs: 4}}
device: cpu
workers: 1
"""


def write(folder: Path, kinds: list[str], limit: str = "2s") -> None:
    (folder / "train.py").write_text(SCRIPT)
    text = SWEEP.format(kinds=f"[{', '.join(kinds)}]", limit=limit)
    (folder / "sweep.yaml").write_text(text)


def processes(folder: Path) -> list[int]:
    """Return the script's processes of each attempt of the one trial."""
    [file] = folder.glob("sweeps-checkpoints/*/*/0/processes")
    return [int(line) for line in file.read_text().split()]


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def reports(folder: Path) -> int:
    if not (folder / "sweeps.db").exists():
        return 0
    with closing(sqlite3.connect(folder / "sweeps.db")) as db:
        try:
            [[count]] = db.execute("SELECT count(*) FROM trial_intermediate_values")
        except sqlite3.OperationalError:  # no tables yet
            return 0
        return int(count)


def test_every_end_of_a_script(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, ["falls", "grows", "hangs", "fails"])
    done = sweeps("run", "sweep.yaml")
    assert done.code == 0, done.err
    trials = {trial["kind"]: trial for trial in map(flat, exported(sweeps, "scripted"))}
    assert {kind: trial["outcome"] for kind, trial in trials.items()} == {
        "falls": "complete",
        "grows": "pruned",
        "hangs": "pruned",
        "fails": "failed",
    }
    assert trials["falls"]["value"] == pytest.approx(1 / 6)
    assert (trials["falls"]["epochs"], trials["hangs"]["epochs"]) == (6, 2)
    assert trials["hangs"]["reason"] == "2 s of training (budget.trial_time)"
    assert 2 <= trials["hangs"]["seconds"] < 5
    why = "the script ended with exit code 1: cannot read mysql://me:***@host/db"
    assert trials["fails"]["reason"] == why
    shown = sweeps("show", "scripted", str(trials["falls"]["number"])).out
    folder = Path(shown.partition("stderr.log are in ")[2].splitlines()[0])
    said = (folder / "stdout.log").read_text()
    assert said.startswith("epoch=1 loss=1.0\n")
    kept = list(tmp_path.glob("mlartifacts/**/*.log"))  # three failures to the end, as ever
    assert sorted(path.name for path in kept) == ["stderr.log"] * 3 + ["stdout.log"] * 3
    assert said in [path.read_text() for path in kept]


def flat(trial: dict[str, Any]) -> dict[str, Any]:
    """Return a trial with its parameters beside the rest."""
    return {**trial, **trial.get("config", {}), **trial.get("params", {})}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_leaves_nothing_and_its_trial_starts_anew(
    sweeps: Callable[..., Any],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    write(tmp_path, ["waits1"], limit="5m")
    options = ("sweep.yaml", "--tracking", "none", "--lease-seconds", "2")
    worker = start("run", *options)
    wait_for(lambda: reports(tmp_path) == 2, 60)
    [first] = processes(tmp_path)
    began = time.monotonic()
    worker.send_signal(number)
    worker.communicate(timeout=30)
    assert time.monotonic() - began < 8
    wait_for(lambda: is_gone(first), 10)
    done = sweeps("run", *options)
    assert done.code == 0, done.err
    [trial] = exported(sweeps, "scripted")
    assert (trial["outcome"], trial["epochs"], trial["number"]) == ("complete", 6, 0)
    assert reports(tmp_path) == 6
    first_again, second = processes(tmp_path)  # in the same folder
    assert first_again == first
    assert is_gone(second)


STUBBORN = """
import os, signal, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(os.path.join(os.environ["SWEEPS_TRIAL_DIR"], "processes"), "a") as file:
    print(os.getpid(), file=file)
print("epoch=1 loss=1", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("reports_itself", [False, True])
def test_a_script_that_ignores_sigterm_ends_within_the_grace(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, reports_itself: bool
) -> None:
    write(tmp_path, ["any"], limit="5m")
    goes_on = "from sweeps import report\nwhile True:\n    report(loss=1)\n    time.sleep(0.1)\n"
    (tmp_path / "train.py").write_text(
        STUBBORN.replace("time.sleep(300)\n", goes_on) if reports_itself else STUBBORN
    )
    worker = start("run", "sweep.yaml", "--tracking", "none", "--grace", "2s")
    wait_for(lambda: reports(tmp_path) > 0, 60)
    [script] = processes(tmp_path)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    assert time.monotonic() - began < 2.5  # of 2 s, and Python's own end
    assert worker.returncode == 130
    assert is_gone(script)
    with closing(sqlite3.connect(tmp_path / "sweeps.db")) as db:
        assert db.execute("SELECT state FROM trials").fetchall() == [("WAITING",)]
