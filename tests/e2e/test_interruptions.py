"""A run that is interrupted: kills, signals, a second runner, failures in a row."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults import kills
from tests.e2e.faults.scene import Scene
from tests.e2e.runs import SLOW_TASK, SWEEP, comparable, exported, write
from tests.waiting import wait_for

KILLS = int(os.environ.get("SWEEPLANE_KILLS", "5"))


def test_kill_at_random_moments_loses_nothing(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    """SIGKILL, `SWEEPLANE_KILLS` times, at random moments of the sweep; then it runs to its end.

    No finished trial is lost or changed, no number comes twice, the budget is met exactly, and the
    trials are those of a sweep that nobody killed.
    """
    dice = random.Random(seed := random.randrange(10**6))
    with Scene(tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}") as scene:
        figures = kills.alone(scene, dice, KILLS)
    assert figures.sound, f"seed {seed}: {figures}"
    trials = exported(sweeps)
    assert sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm").code == 0
    calm = exported(sweeps, "calm")
    assert [comparable(t) for t in trials] == [comparable(t) for t in calm], f"seed {seed}"


def test_a_second_runner_is_refused_and_a_dead_one_replaced(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path, SWEEP.replace("task: iris-mlp", "task: slow.py:make") + "batch_size: 2\n")
    process = start("run", "sweep.yaml", "--tracking", "none")
    wait_for(lambda: count_trials(tmp_path / "sweeps.db", "RUNNING") == 1, 60)
    refused = sweeps("run", "sweep.yaml")
    assert refused.code == 2
    assert not (tmp_path / "mlflow.db").exists()  # it has followed nothing either
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
    assert [t["state"] for t in exported(sweeps)] == ["WAITING"]  # whoever looks gives it back
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
    told = json.loads(sweeps("show", "small", "0", "--json").out)
    assert told["traceback"].endswith("RuntimeError: no luck\n"), told["traceback"]
    assert isinstance(told["seed"], int)
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
