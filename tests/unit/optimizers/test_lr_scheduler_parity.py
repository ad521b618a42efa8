"""The LRScheduler classes against torch's: 1,000 steps, restarts, states, tensors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lr_scheduler_runs import BASES, STEPS, optimizer, ours, pickled, reloaded, theirs, walk

CASES = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 30, "gamma": 0.8}),
    ("MultiStepLR", {"milestones": [300, 40, 40, 700]}),
    ("MultiStepLR", {"milestones": [0, 999], "gamma": 0.5}),
    ("MultiStepLR", {"milestones": []}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.7, "total_iters": 600}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 800}),
    ("LinearLR", {"start_factor": 0.01, "total_iters": 1}),
    ("ExponentialLR", {"gamma": 0.99}),
    ("ExponentialLR", {"gamma": 1.0}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 1000, "power": 0.9}),
    ("PolynomialLR", {"total_iters": 600, "power": 2}),
    ("CosineAnnealingLR", {"T_max": 1000}),
    ("CosineAnnealingLR", {"T_max": 130, "eta_min": 0.01}),
]
OTHER = {"factor": 0.3, "start_factor": 0.9, "milestones": [1], "gamma": 0.4, "eta_min": 0.5}


def closed_form(name: str, arguments: dict[str, Any], steps: int = STEPS) -> list[float]:
    """torch's own formula at each step; its recursion adds up rounding."""
    scheduler = getattr(theirs, name)(optimizer(), **arguments)
    found = []
    for t in range(steps):
        scheduler.last_epoch = t
        found += [number for lr in scheduler._get_closed_form_lr() for number in (lr, 0.0)]
    return found


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equals_torch(name: str, arguments: dict[str, Any]) -> None:
    found = walk(getattr(ours, name)(optimizer(), **arguments), STEPS)
    assert found == pytest.approx(closed_form(name, arguments), rel=1e-12, abs=1e-16)
    recursive = walk(getattr(theirs, name)(optimizer(), **arguments), STEPS)
    loose = name == "CosineAnnealingLR"
    rel, tiny = (1e-9, 1e-12) if loose else (1e-12, 1e-15)
    assert found == pytest.approx(recursive, rel=rel, abs=tiny)


@pytest.mark.parametrize("saved_by", [ours, theirs], ids=["ours", "torch"])
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_goes_on_from_a_saved_state(name: str, arguments: dict[str, Any], saved_by: Any) -> None:
    first = getattr(saved_by, name)(optimizer(), **arguments)
    walk(first, 500)
    # Built with other arguments on purpose: those of the state must win.
    doubled = {key: 2 * value for key, value in arguments.items() if isinstance(value, int)}
    other = doubled | {key: OTHER[key] for key in arguments if key in OTHER}
    second = reloaded(first, getattr(ours, name)(optimizer(), **other))
    tail = closed_form(name, arguments)[2000:]
    assert walk(second, 500) == pytest.approx(tail, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_goes_on_after_a_restart(name: str, arguments: dict[str, Any], copied: Any) -> None:
    straight = walk(getattr(ours, name)(optimizer(), **arguments), STEPS)
    scheduler = getattr(ours, name)(optimizer(), **arguments)
    head = walk(scheduler, 500)
    assert head + walk(copied(scheduler), 500) == straight


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_goes_on_from_last_epoch(name: str, arguments: dict[str, Any]) -> None:
    """The documented resume: the same optimizer, whose groups keep initial_lr."""
    walked = getattr(ours, name)(optimizer(), **arguments)
    straight = walk(walked, 60)
    again = getattr(ours, name)(optimizer(), **arguments)
    walk(again, 20)
    resumed = getattr(ours, name)(again.optimizer, **arguments, last_epoch=19)
    assert walk(resumed, 40) == straight[80:]


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "StepLR", "LinearLR"])
def test_sets_a_tensor_lr_in_place(name: str) -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    base = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate.clone())
    arguments = {"CosineAnnealingLR": {"T_max": 3}, "StepLR": {"step_size": 2}}.get(name, {})
    scheduler = getattr(ours, name)(base, **arguments)
    reference = getattr(theirs, name)(other, **arguments)
    for _ in range(3):
        base.step()
        scheduler.step()
        other.step()
        reference.step()
        last = scheduler.get_last_lr()[0]
        assert last == pytest.approx(other.param_groups[0]["lr"].item())
        assert last is not rate
    assert base.param_groups[0]["lr"] is rate


def test_keeps_torchs_attributes() -> None:
    scheduler = ours.MultiStepLR(optimizer(), [3, 9, 9], gamma=0.5)
    assert isinstance(scheduler, theirs.LRScheduler)
    assert scheduler.base_lrs == BASES
    assert scheduler.milestones == {3: 1, 9: 2}
    assert (scheduler.last_epoch, scheduler.get_last_lr()) == (0, BASES)


def test_has_every_name_of_torchs() -> None:
    assert set(theirs.__all__) <= set(ours.__all__)
    for name in theirs.__all__:
        assert issubclass(getattr(ours, name), theirs.LRScheduler)
    own = set(theirs.__all__) - {"LRScheduler"}
    assert all(getattr(ours, name) is not getattr(theirs, name) for name in own)
