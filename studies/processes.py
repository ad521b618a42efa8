"""Which process is which, on this machine: the kernel says whether one lives."""

from __future__ import annotations

import calendar
import functools
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process, told from every other one, earlier and later ones too."""

    host: str
    kernel: str  # whose process ids these are; hosts may share a name, and containers a host's
    pid: int
    started: float  # seconds, in the clock of `started_at`

    @property
    def name(self) -> str:
        """As people tell it: `host:pid`."""
        return f"{self.host}:{self.pid}"

    @property
    def gone(self) -> bool:
        """Whether it is known to be dead; False as well where only its heartbeat can tell."""
        return self.kernel == this_kernel() and started_at(self.pid) != self.started


def this_process() -> Process:
    """The process that calls."""
    return _process(os.getpid())


@functools.lru_cache(maxsize=1)
def this_kernel() -> str:
    """This boot of this machine and this namespace of process ids; elsewhere the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> Process:
    started = started_at(pid)
    if started is None:
        raise RuntimeError(f"the start time of process {pid}, this one, cannot be read")
    return Process(socket.gethostname(), this_kernel(), pid, started)


def started_at(pid: int) -> float | None:
    """When a process of this host began, in seconds; None when it does not live (or is a zombie).

    On Linux since the boot, elsewhere since the epoch, to the second.
    """
    if Path("/proc/self/stat").exists():
        return _started_by_proc(pid)
    return started_by_ps(pid)


def _started_by_proc(pid: int) -> float | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc_pid_stat(5): the name in parentheses may hold anything; the state is field 3 and the
    # start time field 22, in clock ticks since the boot.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def started_by_ps(pid: int) -> float | None:
    """`started_at` by POSIX `ps`, for systems without /proc."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    state, _, started = found.stdout.strip().partition(" ")
    if not started or state.startswith("Z"):
        return None
    return float(calendar.timegm(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y")))
