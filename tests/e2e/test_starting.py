"""Workers that are started before there is a study: when there comes none, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.faults.scene import children
from tests.e2e.runs import SWEEP, write
from tests.waiting import wait_for

WORKERS = 2

BROKEN = """
def make():
    raise OSError("no data here")
"""

SLOW_TO_BUILD = """
import time

def make():
    open("building", "w").close()
    time.sleep(600)
"""

Start = Callable[..., "subprocess.Popen[str]"]


def session(pid: int) -> list[int]:
    """The live processes of the session that `pid` began."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, leader = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(leader) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def run(start: Start, folder: Path, task: str) -> subprocess.Popen[str]:
    write(folder, SWEEP.replace("task: iris-mlp", "task: own.py:make"))
    (folder / "own.py").write_text(task)
    return start("run", "sweep.yaml", "--tracking", "none", "--workers", str(WORKERS))


def test_a_task_that_cannot_be_built_leaves_no_process_and_no_study(
    start: Start, tmp_path: Path
) -> None:
    process = run(start, tmp_path, BROKEN)
    said = process.communicate(timeout=120)[0]
    assert session(process.pid) == []
    assert process.returncode == 2
    assert said == "Error: task 'own.py:make': its factory raised OSError: no data here\n"
    assert not (tmp_path / "sweeps.db").exists()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_they_end_with_the_one_that_started_them(start: Start, tmp_path: Path, name: str) -> None:
    process = run(start, tmp_path, SLOW_TO_BUILD)
    wait_for((tmp_path / "building").exists)
    assert len(children(process.pid)) == WORKERS
    os.kill(process.pid, signal.Signals[name])
    process.wait(timeout=60)
    wait_for(lambda: session(process.pid) == [], 60)
    assert process.communicate()[0] in ("", "\nAborted!\n")
    assert not (tmp_path / "sweeps.db").exists()
