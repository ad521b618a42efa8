"""The processes of `sweeps run --workers N`, started before there is a study to work on.

Each takes seconds to import torch and the rest; meanwhile `sweeps run` builds the task, opens the
study DB and makes the study. Each then waits until `Place.tend` first tells it to begin. When the
sweep is refused, or this process dies, they end without having done anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sweeps.place import Place

if TYPE_CHECKING:
    from sweeps.keeping import Keeping
    from sweeps.spec import Spec


@contextmanager
def starting(
    spec: Spec, url: str, study: str, *, lease_seconds: float, keeping: Keeping, grace: float
) -> Iterator[list[Place]]:
    """Start the processes that a sweep file asks for, none where it is one; end them at the end."""
    count = spec.workers if isinstance(spec.workers, int) else 1  # not "auto"
    command = _command(spec, study, lease_seconds, keeping, grace)
    # The URL may hold a password, which arguments would show to everybody.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "SWEEPS_STORAGE": url}
    names = [f"worker {n}" for n in range(1, count + 1)] if count > 1 else []
    places = [Place(name, command, environment) for name in names]
    try:
        for place in places:
            place.start()
        yield places
    finally:
        for place in places:
            place.end()


def _command(
    spec: Spec, study: str, lease_seconds: float, keeping: Keeping, grace: float
) -> list[str]:
    every, folder = keeping.every, keeping.folder
    kept = ["--checkpoint-every", "none" if every is None else str(every)]
    kept += [] if folder is None else ["--checkpoints", str(folder)]
    own = [sys.executable, "-m", "sweeps", "worker", "--led"]
    lease = ["--lease-seconds", str(lease_seconds), "--grace", f"{grace:f}s"]
    return [*own, "--study", study, "--device", spec.device, *lease, *kept]
