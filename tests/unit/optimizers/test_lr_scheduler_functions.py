"""LambdaLR and MultiplicativeLR against torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from lr_scheduler_runs import STEPS, optimizer, ours, pickled, reloaded, theirs, walk

from optimizers import ScheduleLR
from optimizers.schedules import Lambda, Multiplicative


def slower(epoch: int) -> float:
    return 0.999 if epoch % 7 else 1.001


class Power:
    """A function that is an object: it stands in the state."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def __call__(self, epoch: int) -> float:
        return self.gamma ** (epoch % 30)


CASES = [
    slower,
    [slower, Power(0.95)],
    (Power(1.0), Power(0.99)),
]


@pytest.mark.parametrize("functions", CASES)
@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_equals_torch(name: str, functions: Any) -> None:
    found = walk(getattr(ours, name)(optimizer(), functions), STEPS)
    expected = walk(getattr(theirs, name)(optimizer(), functions), STEPS)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-200)


@pytest.mark.parametrize("restart", ["pickle", "ours", "torch"])
@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_goes_on_after_a_restart(name: str, restart: str) -> None:
    straight = walk(getattr(ours, name)(optimizer(), [slower, Power(0.99)]), STEPS)
    saved_by = theirs if restart == "torch" else ours
    first = getattr(saved_by, name)(optimizer(), [slower, Power(0.99)])
    head = walk(first, 500)
    if restart == "pickle":
        second = pickled(first)
    else:
        second = reloaded(first, getattr(ours, name)(optimizer(), [slower, Power(0.5)]))
        assert second.lr_lambdas[1].gamma == 0.99
    assert head + walk(second, 500) == pytest.approx(straight, rel=1e-12, abs=1e-200)


@pytest.mark.parametrize(("name", "first"), [("LambdaLR", 0), ("MultiplicativeLR", 1)])
def test_a_function_is_asked_about_each_step_once_and_not_ahead(name: str, first: int) -> None:
    asked: list[int] = []

    def noted(epoch: int) -> float:
        asked.append(epoch)
        return 1.0

    walk(getattr(ours, name)(optimizer(), [noted, slower]), 9)
    assert asked == list(range(first, 10))


@pytest.mark.parametrize("schedule", [Lambda(function=slower), Multiplicative(function=slower)])
def test_the_pure_schedule_is_the_scheduler(schedule: Lambda) -> None:
    name = {"lambda": "LambdaLR", "multiplicative": "MultiplicativeLR"}[schedule.name]
    found = walk(ScheduleLR(optimizer(), schedule, 50), 60)
    assert found == walk(getattr(ours, name)(optimizer(), slower), 60)


@pytest.mark.parametrize("functions", [[slower], (slower, slower, slower)])
def test_another_number_of_functions_than_groups_is_refused(functions: Sequence[Any]) -> None:
    with pytest.raises(ValueError, match=r"lr_lambda = .* must have 2 values, one a group"):
        ours.LambdaLR(optimizer(), functions)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"lr_lambda = 0\.5 is invalid; it must be a function"):
        ours.MultiplicativeLR(optimizer(), [slower, 0.5])
