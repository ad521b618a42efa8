"""The LRScheduler classes against torch's: 1,000 steps, restarts, and the mistakes they refuse."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as theirs
from torch.optim.lr_scheduler import LRScheduler

from optimizers import ScheduleLR, build_scheduler
from optimizers import lr_scheduler as ours

CASES = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 30, "gamma": 0.8}),
    ("ExponentialLR", {"gamma": 0.99}),
    ("ExponentialLR", {"gamma": 1.0}),
    ("CosineAnnealingLR", {"T_max": 1000}),
    ("CosineAnnealingLR", {"T_max": 130, "eta_min": 0.01}),
]
BASES = [0.1, 0.02]


def optimizer() -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in BASES]
    return torch.optim.SGD(groups)


def walk(scheduler: Any, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates += [float(group["lr"]) for group in scheduler.optimizer.param_groups]
        assert rates[-2:] == scheduler.get_last_lr()
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def closed_form(name: str, arguments: dict[str, Any], steps: int) -> list[float]:
    """torch's own formula at each step; its cosine otherwise adds up rounding by recursion."""
    scheduler = getattr(theirs, name)(optimizer(), **arguments)
    rates = []
    for t in range(steps):
        scheduler.last_epoch = t
        rates += scheduler._get_closed_form_lr()
    return rates


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equals_torch(name: str, arguments: dict[str, Any]) -> None:
    found = walk(getattr(ours, name)(optimizer(), **arguments), 1000)
    assert found == pytest.approx(closed_form(name, arguments, 1000), rel=1e-12, abs=1e-16)
    recursive = walk(getattr(theirs, name)(optimizer(), **arguments), 1000)
    assert found == pytest.approx(recursive, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("saved_by", [ours, theirs], ids=["ours", "torch"])
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_goes_on_after_a_pickled_restart(
    name: str, arguments: dict[str, Any], saved_by: Any
) -> None:
    first = getattr(saved_by, name)(optimizer(), **arguments)
    walk(first, 500)
    state = pickle.loads(pickle.dumps((first.state_dict(), first.optimizer.state_dict())))
    # Built with another argument on purpose: those of the state must win.
    other = {key: 2 * value if isinstance(value, int) else 0.5 for key, value in arguments.items()}
    second = getattr(ours, name)(optimizer(), **other)
    second.load_state_dict(state[0])
    second.optimizer.load_state_dict(state[1])
    tail = closed_form(name, arguments, 1000)[1000:]
    assert walk(second, 500) == pytest.approx(tail, rel=1e-9, abs=1e-12)


def test_takes_its_place_in_torchs_sequence() -> None:
    def sequence(library: Any) -> LRScheduler:
        base = optimizer()
        parts = [theirs.LinearLR(base, 0.1, total_iters=10), library.StepLR(base, 5)]
        return theirs.SequentialLR(base, parts, milestones=[10])

    assert walk(sequence(ours), 40) == pytest.approx(walk(sequence(theirs), 40), rel=1e-12)


def test_sets_a_tensor_lr_in_place() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    base = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    for scheduler in (ours.StepLR(base, 1), ours.CosineAnnealingLR(base, 2)):
        base.step()
        scheduler.step()
    assert base.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.05)


def metrics(seed: int, count: int) -> list[float]:
    """Losses of both signs that fall in fits and starts, some of them not finite."""
    generator = random.Random(seed)
    level, found = 2.0, []
    for _ in range(count):
        level -= 0.02 * (generator.random() < 0.3)
        noise = generator.choice([0.0, 1e-5, 0.01, 0.1]) * generator.random()
        found.append(generator.choice([level] * 30 + [float("nan"), float("inf")]) + noise)
    return found


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"patience": 0, "factor": 0.9, "eps": 1e-3},
        {"patience": 2, "cooldown": 3, "factor": 0.7, "min_lr": [0.01, 0.001], "threshold": 0.02},
        {"patience": 1, "factor": 0.5, "min_lr": 0.003},
    ],
)
def test_plateau_equals_torch(mode: str, threshold_mode: str, arguments: dict[str, Any]) -> None:
    arguments = {**arguments, "mode": mode, "threshold_mode": threshold_mode}
    mine = ours.ReduceLROnPlateau(optimizer(), **arguments)
    other = theirs.ReduceLROnPlateau(optimizer(), **arguments)
    for step, metric in enumerate(metrics(3, 1000)):
        if step == 500:
            state = pickle.loads(pickle.dumps(mine.state_dict()))
            kept = mine.optimizer
            mine = ours.ReduceLROnPlateau(kept, patience=99)
            mine.load_state_dict(state)
        mine.step(metric)
        other.step(torch.tensor(metric, dtype=torch.float64))
        rates = [group["lr"] for group in mine.optimizer.param_groups]
        assert (
            rates == [group["lr"] for group in other.optimizer.param_groups] == mine.get_last_lr()
        )
        assert (mine.best, mine.num_bad_epochs) == (other.best, other.num_bad_epochs)
    assert rates[0] < 0.1
    assert mine.last_epoch == 1000


def test_plateau_cuts_the_present_lr_and_follows_added_groups() -> None:
    def run(library: Any) -> list[float]:
        base = optimizer()
        scheduler = library.ReduceLROnPlateau(base, patience=0, min_lr=0.001)
        scheduler.step(1.0)
        base.param_groups[0]["lr"] = 0.5
        base.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.3})
        scheduler.step(1.0)
        return [group["lr"] for group in base.param_groups]

    assert run(ours) == run(theirs) == pytest.approx([0.05, 0.002, 0.03])


def test_schedule_plateau_moves_the_lr_at_the_evaluation() -> None:
    base = optimizer()
    scheduler = build_scheduler("plateau", base, 100, {"patience": 1, "factor": 0.5})
    for metric in (1.0, 1.0, 1.0):
        base.step()
        scheduler.step()
        scheduler.observe(metric)
    assert [group["lr"] for group in base.param_groups] == [0.05, 0.01]
    assert scheduler.get_last_lr() == [0.05, 0.01]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda o: ours.StepLR(o, 0), r"step_size = 0 is invalid; it must lie in \[1, inf\)"),
        (
            lambda o: ours.StepLR(o, 3, gamma=-1),
            r"gamma = -1 is invalid; it must lie in \[0, inf\)",
        ),
        (lambda o: ours.ExponentialLR(o, float("nan")), "gamma = nan is invalid"),
        (lambda o: ours.CosineAnnealingLR(o, 0), r"T_max = 0 is invalid"),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), r"factor = 1\.0 .* lie in \[0, 1\)"),
        (lambda o: ours.ReduceLROnPlateau(o, patience=1.5), "patience = 1.5 .* a whole number"),
        (lambda o: build_scheduler("cosin", o, 9, {}), "'cosin' is unknown; did you mean 'cosine'"),
        (lambda o: build_scheduler("step", o, 0, {}), r"total_steps = 0 is invalid"),
        (lambda o: build_scheduler("step", o, 9, {"patience": 1}), "step has no hyperparameter"),
        (lambda o: build_scheduler("step", o, 9, {"warmup_fraction": 1.0}), r"lie in \[0, 1\)"),
    ],
)
def test_mistakes_are_refused(build: Callable[[Any], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(optimizer())


def test_a_state_of_another_schedule_is_refused() -> None:
    state = build_scheduler("step", optimizer(), 9, {}).state_dict()
    with pytest.raises(ValueError, match="state of schedule 'step', this is 'cosine'"):
        build_scheduler("cosine", optimizer(), 9, {}).load_state_dict(state)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_schedule_lr_follows_a_metric_of_either_goal_as_torch_does(
    maximize: bool, sign: float
) -> None:
    """A metric that rises, stalls and falls; negative ones too, where torch's relative threshold
    takes an equal value for a better one.
    """
    metrics = [sign * value for value in (0.5, 0.7, 0.7, 0.69, 0.7, 0.7, 0.9, 0.9, 0.9, 0.9, 0.2)]
    own = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    other = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = ScheduleLR(own, "plateau", 100, maximize=maximize, factor=0.5, patience=2)
    reference = theirs.ReduceLROnPlateau(
        other, mode="max" if maximize else "min", factor=0.5, patience=2
    )
    for metric in metrics:
        schedule.observe(metric)
        reference.step(metric)
        assert own.param_groups[0]["lr"] == other.param_groups[0]["lr"]
    assert own.param_groups[0]["lr"] < 1.0 or sign < 0
