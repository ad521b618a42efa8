"""How far a sweep may go and how far it is, read off its file and its study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from sweeps.budget import ENDED, Budget
from sweeps.grid_points import GRID_INDEX, free_points
from sweeps.outcomes import has_failed
from sweeps.plan import planned
from sweeps.progress import Progress

if TYPE_CHECKING:
    from sweeps.launch import OpenSweep
    from sweeps.spec import Spec


def make_budget(spec: Spec) -> Budget:
    """Return the limits that a sweep file gives."""
    return Budget(
        trials=spec.budget.trials,
        time=spec.budget.time or math.inf,
        device_seconds=(spec.budget.gpu_hours or math.inf) * 3600,
        target=spec.metric.target,
        maximize=spec.metric.goal == "maximize",
    )


def make_progress(sweep: OpenSweep) -> Progress:
    """Return the counts at the start."""
    spec = sweep.spec
    trials = sweep.study.get_trials(deepcopy=False)
    progress = Progress(
        total=min(spec.budget.trials, _most_trials(sweep)),
        done_before=sum(t.state in ENDED for t in trials),
        maximize=spec.metric.goal == "maximize",
    )
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            progress.saw(trial.number, trial.values[0])
    return progress


def exhausted(sweep: OpenSweep, trials: Sequence[FrozenTrial]) -> str | None:
    """Return that a grid has no point left, in words; None when it has, or for another method."""
    if sweep.spec.method != "grid":
        return None
    points = sweep.spec.space.size() or 0
    if free_points(points, trials):
        return None
    held = {t.system_attrs.get(GRID_INDEX) for t in trials if not has_failed(t)}
    failed = points - len(held - {None})
    return f"the grid's {points} points have run" + (f", {failed} failed" if failed else "")


def _most_trials(sweep: OpenSweep) -> float:
    """Return how many trials there can be: a grid ends, and planned trials stand beside it."""
    if sweep.spec.method != "grid":
        return math.inf
    return len(planned(sweep)) + (sweep.spec.space.size() or 0)
