"""Runs a command and watches it from outside: wall time, peak memory, when a target was reached."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.environments import ROOT

LOOK_SECONDS = 0.1
MEMORY_SECONDS = 1.0  # between two sums over the processes' pages, which cost some milliseconds
_PROC = Path("/proc")


@dataclass(frozen=True)
class Watched:
    """What a command did and took."""

    output: str
    seconds: float
    target_seconds: float | None  # until `reached` first said so
    peak_bytes: int | None  # of all its processes, each shared page counted once; Linux alone


def watch(
    command: Sequence[str | Path], environment: Mapping[str, str], reached: Callable[[], bool]
) -> Watched:
    """Run a command in the repository's root, from its start to its end.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=errors)
        try:
            target_seconds, peak = _look_on(process, start, reached)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(
                f"{command} ended with {process.returncode}:\n{errors.read()[-4000:]}"
            )
        return Watched(output.read(), seconds, target_seconds, peak)


def _look_on(
    process: subprocess.Popen[bytes], start: float, reached: Callable[[], bool]
) -> tuple[float | None, int | None]:
    target_seconds, peak, measured = None, 0, start
    while True:
        if target_seconds is None and reached():
            target_seconds = time.perf_counter() - start
        if time.perf_counter() - measured >= MEMORY_SECONDS:
            measured = time.perf_counter()
            peak = max(peak, sum(_pages(each) for each in _family(process.pid)))
        try:
            process.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        if target_seconds is None and reached():
            target_seconds = time.perf_counter() - start
        return target_seconds, peak if sys.platform == "linux" else None


def _family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for tasks in _PROC.glob(f"{pid}/task/*/children"):
        try:
            children = tasks.read_text().split()
        except OSError:  # it has ended meanwhile
            continue
        for child in children:
            yield from _family(int(child))


def _pages(pid: int) -> int:
    """Return a process's bytes in memory, its share of those that others have too."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
