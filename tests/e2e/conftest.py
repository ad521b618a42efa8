"""The `sweeps` command as a user runs it: a process of its own in an empty folder."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SWEEPS = str(Path(sys.executable).parent / "sweeps")
ROOT = str(Path(__file__).parents[2])  # the tree under test, wherever `sweeps` was installed from


@dataclass(frozen=True)
class Done:
    """A finished command; `cpu_seconds` is its own processor time, whatever else ran."""

    code: int
    out: str
    err: str
    cpu_seconds: float


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEPS_", "MLFLOW_"))}
    shown = {"COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
    return {**kept, **shown, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}


@pytest.fixture
def sweeps(tmp_path: Path) -> Callable[..., Done]:
    """Run `sweeps ARGUMENTS...` in the test's folder and wait for it."""

    def run(*arguments: str, **more: str) -> Done:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [SWEEPS, *arguments],
            cwd=tmp_path,
            env={**environment(), **more},
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Done(done.returncode, done.stdout, done.stderr, used)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `sweeps ARGUMENTS...` in the test's folder, in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [SWEEPS, *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:  # what a test that failed has left
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
