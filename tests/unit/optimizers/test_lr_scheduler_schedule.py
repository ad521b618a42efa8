"""ScheduleLR (momentum, plateau, states), ScheduleWD, and the schedulers torch has no class for."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from lr_scheduler_runs import optimizer, ours, pickled, reloaded, walk

import optimizers
from optimizers import SCHEDULES, ScheduleLR, build_scheduler
from optimizers.lr_scheduler import ScheduleWD

MOMENTUM = {"momentum": 0.9}


def test_one_cycle_is_the_scheduler_of_torchs_name() -> None:
    found = walk(ScheduleLR(optimizer(**MOMENTUM), "one_cycle", 200, pct_start=0.4), 200)
    named = ours.OneCycleLR(optimizer(**MOMENTUM), [0.1, 0.02], total_steps=200, pct_start=0.4)
    assert found == pytest.approx(walk(named, 200), rel=1e-12)


def test_cyclic_is_the_scheduler_of_torchs_name() -> None:
    hypers = {"step_fraction": 0.1, "down_ratio": 1.5, "base_factor": 0.2, "gamma": 0.1}
    found = walk(ScheduleLR(optimizer(**MOMENTUM), "cyclic", 200, **hypers), 200)
    named = ours.CyclicLR(
        optimizer(**MOMENTUM),
        [0.02, 0.004],
        [0.1, 0.02],
        step_size_up=20,
        step_size_down=30,
        mode="exp_range",
        gamma=0.1 ** (1 / 200),
    )
    assert found == pytest.approx(walk(named, 200), rel=1e-12)


@pytest.mark.parametrize("name", ["one_cycle", "cyclic"])
@pytest.mark.parametrize("rule", ["sgd", "adamw"])
def test_our_own_optimizers_momentum_is_cycled(name: str, rule: str) -> None:
    given = {"lr": 0.1, "momentum": 0.5} if rule == "sgd" else {"lr": 0.1, "beta1": 0.5}
    base = optimizers.build_optimizer(rule, [torch.nn.Parameter(torch.ones(1))], given)
    scheduler = build_scheduler(name, base, 60, {"base_momentum": 0.7, "max_momentum": 0.8})
    momenta = walk(scheduler, 60)[1::2]
    assert momenta[0] == 0.8
    assert min(momenta) == pytest.approx(0.7, abs=0.01)
    assert all(0.7 <= momentum <= 0.8 for momentum in momenta)


def test_an_optimizer_without_momentum_has_its_learning_rate_cycled() -> None:
    base = torch.optim.Adagrad([torch.zeros(1)], lr=0.1)
    scheduler = ScheduleLR(base, "one_cycle", 10)
    assert scheduler.get_last_lr() == pytest.approx([0.1 / 25])
    assert "momentum" not in base.param_groups[0]


def test_a_momentum_of_zero_is_refused_unless_it_is_left_alone() -> None:
    with pytest.raises(ValueError, match="momentum = 0 in param group 0 of SGD is invalid"):
        ScheduleLR(optimizer(), "one_cycle", 10)
    for name in ("one_cycle", "cyclic"):
        quiet = replace(SCHEDULES[name], cycle_momentum=False)
        assert set(walk(ScheduleLR(optimizer(), quiet, 10), 10)[1::2]) == {0.0}


def test_the_cycle_goes_on_after_a_restart() -> None:
    straight = walk(build_scheduler("one_cycle", optimizer(**MOMENTUM), 80, {}), 80)
    first = build_scheduler("one_cycle", optimizer(**MOMENTUM), 80, {})
    head = walk(first, 33)
    second = reloaded(first, build_scheduler("one_cycle", optimizer(**MOMENTUM), 9, {}))
    assert head + walk(second, 47) == straight
    third = build_scheduler("one_cycle", optimizer(**MOMENTUM), 80, {})
    assert walk(third, 33) + walk(pickled(third), 47) == straight


def test_plateau_moves_the_lr_at_the_evaluation() -> None:
    base = optimizer()
    scheduler = build_scheduler("plateau", base, 100, {"patience": 1, "factor": 0.5})
    for metric in (1.0, 1.0, 1.0):
        base.step()
        scheduler.step()
        scheduler.observe(metric)
    assert [group["lr"] for group in base.param_groups] == [0.05, 0.01]
    assert scheduler.get_last_lr() == [0.05, 0.01]


def test_a_state_of_another_schedule_is_refused() -> None:
    state = build_scheduler("step", optimizer(), 9, {}).state_dict()
    with pytest.raises(ValueError, match="state of schedule 'step', this is 'cosine'"):
        build_scheduler("cosine", optimizer(), 9, {}).load_state_dict(state)


def decays(scheduler: Any, wd: ScheduleWD, steps: int) -> list[tuple[float, float]]:
    """lr and weight decay of each update, with both schedulers at work."""
    found = []
    for _ in range(steps):
        group = wd.optimizer.param_groups[1]
        found.append((group["lr"], group["weight_decay"]))
        wd.optimizer.step()
        scheduler.step()
        wd.step()
    return found


def test_weight_decay_has_a_schedule_of_its_own() -> None:
    def both() -> tuple[Any, ScheduleWD]:
        base = optimizer(torch.optim.AdamW, weight_decay=0.2)
        rate = ours.CosineAnnealingLR(base, 40)
        return rate, ScheduleWD(base, "linear", 40, final_factor=0.5)

    straight = decays(*both(), 40)
    alone = walk(ours.CosineAnnealingLR(optimizer(torch.optim.AdamW), 40), 40)[2::4]
    assert [lr for lr, _ in straight] == alone
    assert [wd for _, wd in straight] == pytest.approx([0.2 - 0.1 * t / 40 for t in range(40)])
    rate, wd = both()
    head = decays(rate, wd, 15)
    saved = pickle.loads(pickle.dumps([x.state_dict() for x in (rate, wd, wd.optimizer)]))
    rate, wd = both()
    for thing, state in zip((rate, wd, wd.optimizer), saved, strict=True):
        thing.load_state_dict(state)
    assert head + decays(rate, wd, 25) == straight


def test_weight_decay_takes_any_schedule_but_one_that_needs_a_metric() -> None:
    for name, schedule in SCHEDULES.items():
        if not schedule.feedback:
            wd = ScheduleWD(optimizer(weight_decay=0.1), name, 10)
            assert 0 < wd.optimizer.param_groups[0]["weight_decay"] <= 0.1
            assert wd.optimizer.param_groups[0]["momentum"] == 0
    with pytest.raises(ValueError, match="'plateau' is invalid for weight decay: it needs a metr"):
        ScheduleWD(optimizer(), "plateau", 10)
    with pytest.raises(ValueError, match="Rprop has no weight_decay to schedule"):
        ScheduleWD(optimizer(torch.optim.Rprop), "step", 10)
    wd = ScheduleWD(optimizer(), "step", 10)
    with pytest.raises(ValueError, match="state of schedule 'step', this is 'linear'"):
        ScheduleWD(optimizer(), "linear", 10).load_state_dict(wd.state_dict())


def rates(scheduler: Any, steps: int) -> list[float]:
    return walk(scheduler, steps)[::4]


def test_warmup_stable_decay_in_steps() -> None:
    found = rates(ours.WSDLR(optimizer(), 4, 3, 4, final_factor=0.2), 13)
    fall = [1 - 0.8 * math.sqrt(n / 4) for n in range(5)]
    expected = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, *fall, 0.2]
    assert found == pytest.approx([0.1 * factor for factor in expected], rel=1e-12)


def test_inverse_square_root_in_steps() -> None:
    found = rates(ours.InverseSquareRootLR(optimizer(), 5), 1000)
    rise = [0.1 * (t + 1) / 5 for t in range(5)]
    expected = rise + [0.1 * math.sqrt(5 / t) for t in range(5, 1000)]
    assert found == pytest.approx(expected, rel=1e-12)
    cold = rates(ours.InverseSquareRootLR(optimizer(), 0, timescale=50), 100)
    assert cold == pytest.approx([0.1 / math.sqrt(1 + t / 50) for t in range(100)], rel=1e-12)


@pytest.mark.parametrize("name", ["WSDLR", "InverseSquareRootLR", "InvScalingLR"])
def test_own_schedulers_go_on_after_a_restart(name: str) -> None:
    arguments = {"WSDLR": (10, 500, 400), "InverseSquareRootLR": (50,), "InvScalingLR": (0.3,)}
    other = {"WSDLR": (1, 2, 3), "InverseSquareRootLR": (7,), "InvScalingLR": (0.9,)}
    build = getattr(ours, name)
    straight = walk(build(optimizer(), *arguments[name]), 1000)
    first = build(optimizer(), *arguments[name])
    head = walk(first, 500)
    second = reloaded(first, build(optimizer(), *other[name]))
    assert head + walk(second, 500) == straight


@pytest.mark.parametrize(
    "build",
    [
        lambda library, o: library.StepLR(o, 2, 0.5),
        lambda library, o: library.ExponentialLR(o, 0.9),
        lambda library, o: library.CosineAnnealingLR(o, 10, eta_min=0.01),
        lambda library, o: library.LinearLR(o, total_iters=20),
    ],
    ids=["step", "exponential", "cosine", "linear"],
)
def test_a_group_added_in_mid_training_follows_from_its_own_rate(build: Any) -> None:
    """As with torch's, whose chained forms go on from the group's present lr."""
    found = []
    for library in (ours, torch.optim.lr_scheduler):
        sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
        scheduler = build(library, sgd)
        for step in range(6):
            if step == 3:
                late = [torch.nn.Parameter(torch.zeros(1))]
                sgd.add_param_group({"params": late, "lr": 0.1, "initial_lr": 0.1})
            sgd.step()
            scheduler.step()
        found.append([group["lr"] for group in sgd.param_groups])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert 0 < found[0][1] < 0.1
