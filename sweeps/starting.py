"""The processes of `sweeps run --workers N` and `sweeps worker --count N`, started ahead of time.

Each takes seconds to import torch and the rest; meanwhile this process builds the task, opens the
study DB and, for `sweeps run`, makes the study. Each then waits until `Place.tend` first tells it
to begin. When the sweep is refused, or this process dies, they end without having done anything.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

from sweeps.place import Place

if TYPE_CHECKING:
    from sweeps.keeping import Keeping

STDERR = 2


@contextmanager
def starting(
    url: str,
    devices: Sequence[str],
    command: Sequence[str],
    *,
    logs: bool,
    request: Path | None = None,
) -> Iterator[list[Place]]:
    """Start a process a device; end them at the end.

    `command` is that of `led_command`. `logs`: they write JSON lines, which come out here on
    standard error. The first answers the `request` (`sweeps.checking`) before it waits.
    """
    # The URL may hold a password, which arguments would show to everybody.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "SWEEPS_STORAGE": url}
    out = STDERR if logs else DEVNULL
    commands = [[*command, "--device", device] for device in devices]
    if request is not None:
        commands[0] += ["--look", str(request)]
    places = [
        Place(f"worker {number}", own, environment, out)
        for number, own in enumerate(commands, start=1)
    ]
    try:
        for place in places:
            place.start()
        yield places
    finally:
        for place in places:
            place.end()


def led_command(
    study: str,
    *,
    lease_seconds: float,
    keeping: Keeping,
    grace: float,
    idle_exit: float = math.inf,
    drift: bool = False,
    logs: bool = False,
) -> list[str]:
    """Return the command of a worker of `study` that another process leads, but for its device."""
    every, folder = keeping.every, keeping.folder
    command = [sys.executable, "-m", "sweeps", "worker", "--led", "--study", study]
    command += ["--lease-seconds", str(lease_seconds), "--grace", f"{grace:f}s"]
    command += ["--checkpoint-every", "none" if every is None else str(every)]
    command += [] if folder is None else ["--checkpoints", str(folder)]
    command += [] if math.isinf(idle_exit) else ["--idle-exit", f"{idle_exit:f}s"]
    command += ["--allow-code-drift"] if drift else []
    return [*command, "--log", "json"] if logs else command
