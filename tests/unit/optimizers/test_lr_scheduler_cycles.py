"""The schedulers that go up and down against torch's: restarts, 1cycle, triangles, momentum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lr_scheduler_runs import STEPS, optimizer, ours, pickled, reloaded, theirs, walk
from torch.optim import Optimizer

MOMENTUM = {"momentum": 0.9}


def halved(x: float) -> float:
    return 1 / (1 + 0.1 * x)


class Fading:
    """A scale_fn that is an object: it stands in the state."""

    def __init__(self, speed: float) -> None:
        self.speed = speed

    def __call__(self, x: float) -> float:
        return 1 / (1 + self.speed * x)


ONE_CYCLE = [
    {"max_lr": 0.3, "total_steps": 1000},
    {"max_lr": [0.3, 0.07], "total_steps": 1003, "anneal_strategy": "linear", "pct_start": 0.111},
    {"max_lr": 0.3, "epochs": 5, "steps_per_epoch": 200, "three_phase": True, "pct_start": 0.4},
    {"max_lr": 0.3, "total_steps": 1001, "three_phase": True, "anneal_strategy": "linear"},
    {"max_lr": 0.3, "total_steps": 1000, "pct_start": 0.0, "div_factor": 4, "final_div_factor": 10},
    {"max_lr": 0.3, "total_steps": 1000, "three_phase": True, "pct_start": 0.7},
    {"max_lr": 1.0, "total_steps": 1000, "base_momentum": [0.7, 0.8], "max_momentum": [0.8, 0.99]},
    {"max_lr": 0.3, "total_steps": 1000, "cycle_momentum": False},
]
CYCLIC = [
    {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 50},
    {"base_lr": [0.01, 0.002], "max_lr": [0.1, 0.3], "step_size_up": 30, "step_size_down": 17},
    {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 50, "mode": "triangular2"},
    {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 7, "mode": "exp_range", "gamma": 0.997},
    {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20, "scale_fn": halved},
    {
        "base_lr": 0.01,
        "max_lr": 0.1,
        "step_size_up": 20,
        "scale_fn": Fading(0.01),
        "scale_mode": "iterations",
        "base_momentum": 0.5,
    },
    {"base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False},
]
RESTARTS = [
    {"T_0": 50},
    {"T_0": 10, "T_mult": 2, "eta_min": 0.001},
    {"T_0": 7, "T_mult": 3},
    {"T_0": 1},
]
CASES = [
    *[("OneCycleLR", case) for case in ONE_CYCLE],
    *[("CyclicLR", case) for case in CYCLIC],
    *[("CosineAnnealingWarmRestarts", case) for case in RESTARTS],
]


@pytest.mark.parametrize(
    ("kind", "own"), [(torch.optim.SGD, MOMENTUM), (torch.optim.AdamW, {})], ids=["sgd", "adamw"]
)
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equals_torch(
    name: str, arguments: dict[str, Any], kind: type[Optimizer], own: dict[str, Any]
) -> None:
    found = walk(getattr(ours, name)(optimizer(kind, **own), **arguments), STEPS)
    expected = walk(getattr(theirs, name)(optimizer(kind, **own), **arguments), STEPS)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    if arguments.get("cycle_momentum", name != "CosineAnnealingWarmRestarts"):
        assert len(set(found[1::4])) > 10


@pytest.mark.parametrize("restart", ["pickle", "ours", "torch"])
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_goes_on_after_a_restart(name: str, arguments: dict[str, Any], restart: str) -> None:
    saved_by = theirs if restart == "torch" else ours
    straight = walk(getattr(ours, name)(optimizer(**MOMENTUM), **arguments), STEPS)
    first = getattr(saved_by, name)(optimizer(**MOMENTUM), **arguments)
    head = walk(first, 450)
    if restart == "pickle":
        second = pickled(first)
    else:
        other: dict[str, Any] = {"T_0": 9} if "T_0" in arguments else {"max_lr": 0.7}
        other |= {"div_factor": 3, "total_steps": 9} if name == "OneCycleLR" else {}
        scale_fn = arguments.get("scale_fn")
        other |= {"scale_fn": Fading(7.0)} if isinstance(scale_fn, Fading) else {}
        fresh = getattr(ours, name)(optimizer(**MOMENTUM), **{**arguments, **other})
        second = reloaded(first, fresh)
    assert head + walk(second, 550) == pytest.approx(straight, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("arguments", RESTARTS)
def test_warm_restarts_go_to_any_epoch(arguments: dict[str, Any]) -> None:
    mine = ours.CosineAnnealingWarmRestarts(optimizer(), **arguments)
    other = theirs.CosineAnnealingWarmRestarts(optimizer(), **arguments)
    for epoch in (0.25, 3, None, 8.5, None, None, 12.75, 123.4, None, 2, None):
        for scheduler in (mine, other):
            scheduler.optimizer.step()
            scheduler.step(epoch)
        assert mine.get_last_lr() == pytest.approx(other.get_last_lr(), rel=1e-12)
        assert (mine.T_i, mine.last_epoch) == (other.T_i, other.last_epoch)
        assert pytest.approx(other.T_cur) == mine.T_cur


def test_a_restart_is_not_missed_for_a_logarithms_rounding() -> None:
    """log(243, 3) is 4.999...: torch's stands at the end of the cycle that is over."""
    mine = ours.CosineAnnealingWarmRestarts(optimizer(), T_0=2, T_mult=3)
    mine.optimizer.step()
    mine.step(242)
    assert (mine.T_cur, mine.T_i, mine.get_last_lr()[0]) == (0, 486, 0.1)


@pytest.mark.parametrize("arguments", [{"T_0": 100, "T_mult": 2}, {"T_0": 7, "T_mult": 3}])
def test_the_place_in_a_cycle_stays_a_whole_number(arguments: dict[str, Any]) -> None:
    scheduler = ours.CosineAnnealingWarmRestarts(optimizer(), **arguments)
    for _ in range(1000):
        scheduler.optimizer.step()
        scheduler.step()
        assert scheduler.T_cur == int(scheduler.T_cur)


def test_warm_restarts_find_the_cycle_of_any_last_epoch() -> None:
    scheduler = ours.CosineAnnealingWarmRestarts(optimizer(), T_0=10, T_mult=2)
    straight = walk(scheduler, 100)
    resumed = ours.CosineAnnealingWarmRestarts(scheduler.optimizer, 10, 2, last_epoch=79)
    assert walk(resumed, 20) == straight[320:]


def test_one_cycle_ends_with_its_steps() -> None:
    scheduler = ours.OneCycleLR(optimizer(**MOMENTUM), 0.3, total_steps=3)
    walk(scheduler, 3)
    scheduler.optimizer.step()
    with pytest.raises(ValueError, match="step 4 is past the end; total_steps = 3"):
        scheduler.step()


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
def test_momentum_of_zero_is_not_turned_on(name: str) -> None:
    steps = {"total_steps": 10} if name == "OneCycleLR" else {"base_lr": 0.01}
    build = getattr(ours, name)
    message = (
        r"^momentum = 0 in param group 0 of SGD is invalid where momentum is cycled, .*"
        r"lie in \(0, 1\)\. Give the optimizer a momentum, or the schedule cycle_momentum=False"
    )
    with pytest.raises(ValueError, match=message):
        build(optimizer(), max_lr=0.1, **steps)
    with pytest.raises(ValueError, match=r"betas\[0\] = 0 in param group 0 of AdamW"):
        build(optimizer(torch.optim.AdamW, betas=(0.0, 0.9)), max_lr=0.1, **steps)
    with pytest.raises(ValueError, match="invalid with Adagrad, which has no momentum or betas"):
        build(optimizer(torch.optim.Adagrad), max_lr=0.1, **steps)
    quiet = build(optimizer(), max_lr=0.1, cycle_momentum=False, **steps)
    assert set(walk(quiet, 5)[1::2]) == {0.0}
