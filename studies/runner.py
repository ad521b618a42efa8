"""The runner lock: one process at a time runs a sweep.

The lock is four columns of `sweeps`: the holder's host, process id, the start time of that
process, and a heartbeat by the database's clock. On the holder's own host the kernel says whether
it lives (the same id with another start time is another process); from another host, a heartbeat
older than `STALE_SECONDS` says that it does not.
"""

from __future__ import annotations

import calendar
import functools
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select, update

from studies import schema, tables
from studies.database import writing
from studies.errors import UserError
from studies.schema import utc_now

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from studies.storage import StudyStorage

STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Process:
    """A process, told from every other one, earlier and later ones too."""

    host: str
    pid: int
    started: float  # seconds, in the clock of `started_at`


@dataclass(frozen=True)
class Runner:
    """Who holds a sweep."""

    process: Process
    heartbeat: datetime  # naive UTC, by the database's clock
    heartbeat_age: float  # seconds
    alive: bool


def acquire_runner(storage: StudyStorage, study_id: int) -> None:
    """Takes the runner lock for this process; at once when its holder is dead.

    Raises:
        UserError: another process that lives holds it.
        KeyError: no such sweep.
    """
    me = this_process()
    sweeps = schema.sweeps
    with writing(storage.engine).begin() as connection:
        row = connection.execute(
            runner_columns().where(sweeps.c.study_id == study_id).with_for_update(of=sweeps)
        ).one_or_none()
        if row is None:
            raise KeyError(f"no sweep has the study id {study_id}")
        holder = read_runner(row)
        if holder is not None and holder.alive and holder.process != me:
            raise UserError(
                f"study '{row.study_name}' is being run by process {holder.process.pid} on "
                f"'{holder.process.host}' (heartbeat {holder.heartbeat_age:.0f} s ago). "
                "Stop it there with Ctrl-C, or give another --name."
            )
        connection.execute(
            update(sweeps)
            .where(sweeps.c.study_id == study_id)
            .values(
                runner_host=me.host,
                runner_pid=me.pid,
                runner_started=me.started,
                runner_heartbeat=utc_now(),
            )
        )


def beat(storage: StudyStorage, study_id: int) -> bool:
    """Says that this process runs the sweep still; False when it holds the lock no more."""
    with writing(storage.engine).begin() as connection:
        changed = connection.execute(
            update(schema.sweeps).where(_held(study_id)).values(runner_heartbeat=utc_now())
        )
    return changed.rowcount == 1


def release_runner(storage: StudyStorage, study_id: int) -> None:
    """Gives the lock back; does nothing when this process does not hold it."""
    with writing(storage.engine).begin() as connection:
        connection.execute(
            update(schema.sweeps)
            .where(_held(study_id))
            .values(runner_host=None, runner_pid=None, runner_started=None, runner_heartbeat=None)
        )


def get_runner(storage: StudyStorage, study_id: int) -> Runner | None:
    """Who holds the sweep, alive or not; None when nobody does."""
    query = runner_columns().where(schema.sweeps.c.study_id == study_id)
    with storage.engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else read_runner(row)


def this_process() -> Process:
    """The process that calls."""
    return _process(os.getpid())


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> Process:
    started = started_at(pid)
    if started is None:
        raise RuntimeError(f"the start time of process {pid}, this one, cannot be read")
    return Process(socket.gethostname(), pid, started)


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


def runner_columns() -> Any:
    """The query that `read_runner` reads a row of."""
    sweeps, studies = schema.sweeps, tables.studies
    return select(
        studies.c.study_name,
        sweeps.c.runner_host,
        sweeps.c.runner_pid,
        sweeps.c.runner_started,
        sweeps.c.runner_heartbeat,
        utc_now().label("now"),
    ).join_from(sweeps, studies, sweeps.c.study_id == studies.c.study_id)


def read_runner(row: Row[Any]) -> Runner | None:
    """The holder in a row with `runner_columns`."""
    if row.runner_pid is None:
        return None
    process = Process(row.runner_host, row.runner_pid, row.runner_started)
    age = (row.now - row.runner_heartbeat).total_seconds()
    if process.host == socket.gethostname():
        alive = started_at(process.pid) == process.started
    else:
        alive = age < STALE_SECONDS
    return Runner(process, row.runner_heartbeat, age, alive)


def _held(study_id: int) -> ColumnElement[bool]:
    me, sweeps = this_process(), schema.sweeps
    return (
        (sweeps.c.study_id == study_id)
        & (sweeps.c.runner_host == me.host)
        & (sweeps.c.runner_pid == me.pid)
        & (sweeps.c.runner_started == me.started)
    )
