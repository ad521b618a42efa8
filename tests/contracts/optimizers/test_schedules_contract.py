"""What every schedule of SCHEDULES must do; a new one needs no test here."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from optimizers import SCHEDULES, build_optimizer, build_scheduler
from optimizers.lr_scheduler import ScheduleLR
from optimizers.schedules.schedule import WARMUP, Schedule

METRICS = [1.0, 0.9, 0.95, 0.95, 0.95, 0.8, float("nan"), 0.9, 0.9, 0.9, 0.9, 0.7]
WARMED = [name for name, schedule in SCHEDULES.items() if "warmup_fraction" in schedule.hypers]
RISING = [name for name in SCHEDULES if name not in WARMED]
ONES = {"lr": 0.2, "momentum": 0.5}


def lane_hypers(schedule: Schedule) -> list[dict[str, float]]:
    """Three sets over the valid range; with the last, feedback comes soon."""
    sets = []
    for u in (0.1, 0.4, 0.8):
        values = {n: h.low + u * (h.high - h.low) for n, h in schedule.hypers.items()}
        integers = {n: h for n, h in schedule.hypers.items() if h.integer}
        small = float(round(2 * (1 - u)))
        sets.append({**values, **{n: max(small, h.at_least) for n, h in integers.items()}})
    return sets


def scheduler_of(name: str, total: int, hypers: dict[str, float]) -> ScheduleLR:
    parameter = torch.nn.Parameter(torch.zeros(1))
    return build_scheduler(name, build_optimizer("sgd", [parameter], ONES), total, hypers)


def walk(scheduler: ScheduleLR, steps: int, every: int = 7) -> list[tuple[float, float]]:
    """The lr and the momentum of each update, with an evaluation after every seventh."""
    found = []
    for step in range(steps):
        group = scheduler.optimizer.param_groups[0]
        found.append((group["lr"], group["momentum"]))
        scheduler.optimizer.step()
        scheduler.step()
        if (step + 1) % every == 0:
            scheduler.observe(METRICS[step // every % len(METRICS)])
    return found


def rates(scheduler: ScheduleLR, steps: int, every: int = 10**9) -> list[float]:
    return [lr for lr, _ in walk(scheduler, steps, every)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_vector_equals_scalar(name: str) -> None:
    schedule, sets = SCHEDULES[name], lane_hypers(SCHEDULES[name])
    totals = [84.0, 50.0, 120.0]
    total = torch.tensor(totals, dtype=torch.float64)
    together = {n: torch.tensor([s[n] for s in sets], dtype=torch.float64) for n in sets[0]}
    state = {n: torch.full((3,), v, dtype=torch.float64) for n, v in schedule.initial_state.items()}
    lanes = []
    for step in range(84):
        t = torch.tensor(float(step), dtype=torch.float64)
        momentum = schedule.momentum(t, total, together)
        momentum = torch.full((3,), 0.5) if momentum is None else momentum
        lanes.append((schedule.factor(t, total, together, state).expand(3), momentum))
        if (step + 1) % 7 == 0:
            metric = torch.full((3,), METRICS[step // 7], dtype=torch.float64)
            state = dict(schedule.observe(state, metric, together))
    for lane, hypers in enumerate(sets):
        alone = walk(scheduler_of(name, int(totals[lane]), hypers), 84)
        found = [(0.2 * factor[lane].item(), m[lane].item()) for factor, m in lanes]
        assert sum(alone, ()) == pytest.approx(sum(found, ()), rel=1e-14, abs=0)


@pytest.mark.parametrize("name", WARMED)
def test_warmup_is_linear_and_never_zero(name: str) -> None:
    assert SCHEDULES[name].rise == "warmup_fraction"
    assert SCHEDULES[name].hypers["warmup_fraction"] is WARMUP
    warm = rates(scheduler_of(name, 100, {"warmup_fraction": 0.2}), 100)
    cold = rates(scheduler_of(name, 100, {}), 100)
    assert warm[:20] == pytest.approx([0.2 * (t + 1) / 20 for t in range(20)], rel=1e-14)
    assert warm[20] == pytest.approx(0.2)
    assert cold[0] == 0.2
    for curve in (warm, cold):
        assert max(curve) == pytest.approx(0.2)
        assert min(curve) >= 0


@pytest.mark.parametrize("name", RISING)
def test_a_schedule_without_warmup_rises_of_its_own(name: str) -> None:
    schedule = SCHEDULES[name]
    share = schedule.hypers[schedule.rise].default
    curve = rates(scheduler_of(name, 120, {}), 120)
    top = curve.index(max(curve))
    assert top == pytest.approx(share * 120, abs=1.5)
    assert all(0 < now < later for now, later in itertools.pairwise(curve[: top + 1]))
    assert curve[top] == pytest.approx(0.2, rel=0.05)
    assert curve[top + 1] < curve[top]


@pytest.mark.parametrize("name", SCHEDULES)
def test_scales_with_the_number_of_steps(name: str) -> None:
    """420 steps hold every default fraction in whole steps; a rise of its own may end one early."""
    short, long = rates(scheduler_of(name, 420, {}), 420), rates(scheduler_of(name, 4200, {}), 4200)
    loose = 0.2 * 5 / 420 if name in RISING else 0.0
    assert long[::10] == pytest.approx(short, rel=1e-12, abs=loose)


@pytest.mark.parametrize("name", SCHEDULES)
def test_goes_on_from_a_saved_state(name: str) -> None:
    hypers = lane_hypers(SCHEDULES[name])[2]
    straight = walk(scheduler_of(name, 84, hypers), 84)
    first = scheduler_of(name, 84, hypers)
    head = walk(first, 42)
    second = scheduler_of(name, 10, {})
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    tail = []
    for step in range(42, 84):
        group = second.optimizer.param_groups[0]
        tail.append((group["lr"], group["momentum"]))
        second.optimizer.step()
        second.step()
        if (step + 1) % 7 == 0:
            second.observe(METRICS[step // 7])
    assert head + tail == straight


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_table_serves_many_steps_and_lanes(name: str) -> None:
    """`[K, 1]` hypers with `[T]` steps give a table `[K, T]`."""
    schedule, sets = SCHEDULES[name], lane_hypers(SCHEDULES[name])
    h = {n: torch.tensor([[s[n]] for s in sets], dtype=torch.float64) for n in sets[0]}
    state = {n: torch.full((3, 1), v) for n, v in schedule.initial_state.items()}
    t, total = torch.arange(60, dtype=torch.float64), torch.tensor([60.0], dtype=torch.float64)
    table = schedule.factor(t, total, h, state).expand(3, 60)
    momenta: Tensor | None = schedule.momentum(t, total, h)
    expected = walk(scheduler_of(name, 60, sets[1]), 60, every=1000)
    assert (0.2 * table[1]).tolist() == pytest.approx([lr for lr, _ in expected], rel=1e-14)
    if momenta is not None:
        assert momenta[1].tolist() == pytest.approx([m for _, m in expected], rel=1e-14)
    else:
        assert {momentum for _, momentum in expected} == {0.5}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_short_trainings_have_learning_rates_too(name: str, total: int) -> None:
    for hypers in lane_hypers(SCHEDULES[name]):
        for lr, momentum in walk(scheduler_of(name, total, hypers), total, every=1):
            assert 0 <= lr <= 0.2 * (1 + 1e-12)
            assert 0 <= momentum < 1
