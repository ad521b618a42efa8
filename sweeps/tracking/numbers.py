"""What a sweep's workers do, as metrics of MLflow's parent run while it runs.

The step of a point is the sweep's wall clock in whole seconds, its time that of the heartbeat that
brought it. Both come from the study DB, so the same pass again writes the same points, which MLflow
keeps once. The study DB has the last numbers only: those of a time without MLflow are not made up
for, and a sweep that has ended has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.pulse import read_pulse
from sweeps.numbers import Numbers, together
from sweeps.tracking.runs import Point, millis

if TYPE_CHECKING:
    from studies import StudyStorage, Sweep

EVERY_SECONDS = 5


class WorkerNumbers:
    """The points of one sweep for one store, `EVERY_SECONDS` apart at least."""

    def __init__(self, storage: StudyStorage) -> None:
        self._storage, self._next = storage, 0

    def due(self, sweep: Sweep) -> list[Point]:
        """Return the points that are due now."""
        if sweep.status != "running":
            return []
        pulse = read_pulse(self._storage, sweep.study_id)
        step = int(pulse.elapsed_seconds)
        numbers = together([Numbers.from_json(said) for _, said in pulse.workers])
        if numbers is None or pulse.at is None or step < self._next:
            return []
        self._next = step + EVERY_SECONDS
        at = millis(pulse.at)
        return [Point(name, value, at, step) for name, value in _metrics(numbers).items()]


def _metrics(numbers: Numbers) -> dict[str, float]:
    """Return the metrics' names and values; a share is the mean over workers."""
    return {
        "lanes_in_use": float(numbers.models),
        "lanes": float(numbers.lanes),
        "steps_per_second": numbers.steps_per_second,
        "examples_per_second": numbers.examples_per_second,
        **{f"share_{phase}": share for phase, share in numbers.shares.items()},
    }
