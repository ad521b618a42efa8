"""When a sweep ends."""

from __future__ import annotations

import math
import time
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.budget import Budget, Spent
from sweeps.progress import Progress


def trial(state: TrialState, value: float | None = None, seconds: float = 0.0) -> FrozenTrial:
    return create_trial(state=state, value=value, user_attrs={"seconds": seconds})


DONE = trial(TrialState.COMPLETE, 0.5, 100.0)
PRUNED = trial(TrialState.PRUNED, None, 20.0)
FAILED = trial(TrialState.FAIL, None, 1.0)
SHARED = create_trial(
    state=TrialState.PRUNED, user_attrs={"seconds": 90.0, "device_seconds": 30.0}
)  # a device that it shared with others
RUNNING = trial(TrialState.RUNNING)
WAITING = trial(TrialState.WAITING)


@pytest.mark.parametrize(
    ("limits", "trials", "seconds", "expected"),
    [
        ({"trials": 3}, [DONE, PRUNED], 0.0, None),
        ({"trials": 3}, [DONE, PRUNED, RUNNING], 0.0, None),
        ({"trials": 3}, [DONE, PRUNED, FAILED, DONE], 0.0, "all 3 trials have run"),
        ({"trials": 3}, [DONE, PRUNED, FAILED, WAITING], 0.0, None),
        ({"device_seconds": 121.0}, [DONE, PRUNED], 0.0, None),
        (
            {"device_seconds": 120.0},
            [DONE, PRUNED],
            0.0,
            "0.0333 device-hours are used (budget.gpu_hours)",
        ),
        (
            {"device_seconds": 121.0},
            [DONE, SHARED],
            0.0,
            "0.0361 device-hours are used (budget.gpu_hours)",
        ),
        ({"device_seconds": 131.0}, [DONE, SHARED], 0.0, None),
        ({"time": 60.0}, [], 59.9, None),
        ({"time": 60.0}, [], 60.0, "60 s have passed (budget.time)"),
        ({"target": 0.4}, [DONE], 0.0, None),
        ({"target": 0.5}, [DONE], 0.0, "target 0.5 is reached"),
        ({"target": 0.4, "maximize": True}, [DONE], 0.0, "target 0.4 is reached"),
        ({"target": 0.6, "maximize": True}, [DONE, PRUNED], 0.0, None),
    ],
)
def test_the_first_limit_that_is_met_is_named(
    limits: dict[str, Any], trials: list[FrozenTrial], seconds: float, expected: str | None
) -> None:
    spent = Spent()
    spent.look(trials)
    assert Budget(**limits).met(spent, seconds) == expected


def test_what_is_spent_is_counted_once_however_trials_end() -> None:
    cancelled = create_trial(state=TrialState.FAIL, user_attrs={"outcome": "cancelled"})
    looks = [
        [RUNNING, WAITING],
        [RUNNING, DONE, RUNNING],
        [PRUNED, DONE, FAILED, cancelled],
        [PRUNED, DONE, FAILED, cancelled, RUNNING],
    ]
    spent, found = Spent(), []
    for trials in looks:
        spent.look(trials)
        found.append((spent.ended, spent.failed, spent.device_seconds, spent.lowest))
    assert found == [(0, 0, 0, math.inf), (1, 0, 100, 0.5), (2, 1, 121, 0.5), (2, 1, 121, 0.5)]


@pytest.mark.parametrize(("maximize", "best"), [(False, (2, 0.1)), (True, (1, 0.9))])
def test_progress_keeps_the_best_and_the_first_of_equals(
    maximize: bool, best: tuple[int, float]
) -> None:
    progress = Progress(total=10, done_before=0, maximize=maximize)
    for number, value in enumerate([0.5, 0.9, 0.1, 0.9, 0.1]):
        progress.saw(number, value)
    assert progress.best == best


def test_progress_counts_failed_trials_as_not_done() -> None:
    progress = Progress(total=10, done_before=4, maximize=False, started=time.monotonic() - 1000.0)
    assert progress.eta_seconds is None
    progress.outcomes.update(["complete", "pruned", "failed", "diverged"])
    assert progress.done == 7
    assert progress.trials_per_second == pytest.approx(4 / 1000, rel=0.01)
    assert progress.eta_seconds == pytest.approx(3 / (4 / 1000), rel=0.01)


def test_optunas_best_trial_is_the_one_that_is_feasible() -> None:
    """Why a diverged trial carries a constraint and no value: Optuna passes it over."""
    study = optuna.create_study()
    for number, diverged in ((0, 0.0), (1, 1.0)):
        asked = study.ask()
        asked.set_constraint("diverged", diverged)
        study.tell(asked, 1.0 - number)
    assert study.best_trial.number == 0
