"""Which points of a grid are left to run."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from sweeps.outcomes import has_failed

GRID_INDEX = "sweeplane:grid_index"
GRID_ATTEMPTS = 3


def free_points(size: int, trials: Sequence[FrozenTrial]) -> list[int]:
    """Return the grid points to run, in order; a failed one comes last, and again twice at most."""
    pairs = [(trial.system_attrs.get(GRID_INDEX), has_failed(trial)) for trial in trials]
    return free_of(size, [(index, failed) for index, failed in pairs if index is not None])


def free_of(size: int, taken: Sequence[tuple[int, bool]]) -> list[int]:
    """Return `free_points`, given the points that trials took and whether each has failed."""
    failures = [0] * size
    held = set()
    for index, failed in taken:
        if failed:
            failures[index] += 1
        else:
            held.add(index)
    free = [n for n in range(size) if n not in held and failures[n] < GRID_ATTEMPTS]
    return sorted(free, key=lambda n: (failures[n], n))
