"""What is new about a trial's run, as far as the study DB says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from studies import exports
from sweeps.tracking import runs

if TYPE_CHECKING:
    from studies import Sweep
    from studies.exports import Export
    from studies.rows import TrialRow
    from studies.unexported import Pending
    from sweeps.tracking.runs import Point


@dataclass(frozen=True)
class Change:
    """What a run is to have, and how far it is then. Times in milliseconds since the epoch."""

    trial_id: int
    known_as: str  # the run that `exports` has for the trial; '': none
    run_id: str  # '': the store has none either
    last_step: int
    name: str = ""  # of a run to be made, like its start
    start: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[Point] = ()
    status: str | None = None  # None: as it is
    end: int | None = None
    closed: bool = False
    folder: str | None = None  # with a script's output, of a trial that has ended


def of_new_run(sweep: Sweep, item: Pending, parent_id: str, run_id: str) -> Change:
    """Return all of a run that `exports` does not have.

    Args:
        sweep, item: the trial and its sweep.
        parent_id: the parent run.
        run_id: the run that an earlier pass made and did not note; '': none.
    """
    change = _since(item, exports.INTENT)
    return replace(
        change,
        run_id=run_id,
        name=runs.run_name(item.trial),
        tags=runs.trial_tags(sweep, item.trial, parent_id),
        params=runs.params(item.trial),
        status=change.status or (runs.RUNNING_STATUS if run_id else None),
    )


def of_run(item: Pending, export: Export, *, known: bool, waited: bool) -> Change | None:
    """Return what is new since the last pass; None: nothing.

    Args:
        item, export: the trial, and how far its run was.
        known: whether this process has copied of the run before.
        waited: whether the run's status says that the trial waits.
    """
    change = _since(item, export)
    status = change.status or (runs.RUNNING_STATUS if waited else None)
    if known and status is None and not change.points:
        return None
    return replace(
        change,
        tags={} if status is None else runs.outcome_tags(item.trial),
        params={} if known else runs.params(item.trial),
        status=status,
    )


def of_waiting_run(trial: TrialRow, export: Export) -> Change:
    """Return that a trial which has lost its curve waits; its run keeps what it has."""
    return Change(
        trial.trial_id,
        export.run_id,
        export.run_id,
        export.last_step,
        tags=runs.outcome_tags(trial),
        status=runs.WAITING_STATUS,
    )


def _since(item: Pending, export: Export) -> Change:
    trial = item.trial
    points = runs.points(trial, item.curves)
    last = max([export.last_step, *(point.step for point in points)])
    start = runs.started(trial)
    change = Change(trial.trial_id, export.run_id, export.run_id, last, start=start, points=points)
    if trial.state in runs.STATUS:
        return replace(
            change,
            points=points + runs.final_points(trial),
            status=runs.end_status(trial),
            end=start if trial.completed is None else runs.millis(trial.completed),
            closed=True,
            folder=trial.folder,
        )
    waits = trial.state == "WAITING"
    return replace(change, status=runs.WAITING_STATUS) if waits else change
