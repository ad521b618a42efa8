"""What every schedule of SCHEDULES must do; a new one needs no test here."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from optimizers import SCHEDULES, build_optimizer, build_scheduler
from optimizers.lr_scheduler import ScheduleLR
from optimizers.schedules.schedule import Schedule

METRICS = [1.0, 0.9, 0.95, 0.95, 0.95, 0.8, float("nan"), 0.9, 0.9, 0.9, 0.9, 0.7]


def tensors(values: dict[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


def lane_hypers(schedule: Schedule) -> list[dict[str, float]]:
    """Three sets over the valid range; with the last, feedback comes soon."""
    sets = []
    for u in (0.1, 0.4, 0.8):
        values = {n: h.low + u * (h.high - h.low) for n, h in schedule.hypers.items()}
        integers = [n for n, h in schedule.hypers.items() if h.integer]
        sets.append({**values, **{n: float(round(2 * (1 - u))) for n in integers}})
    return sets


def scheduler_of(name: str, total: int, hypers: dict[str, float]) -> ScheduleLR:
    parameter = torch.nn.Parameter(torch.zeros(1))
    return build_scheduler(name, build_optimizer("sgd", [parameter], {"lr": 0.2}), total, hypers)


def rates(scheduler: ScheduleLR, steps: int, every: int = 7) -> list[float]:
    """The lr of each update, with an evaluation after every seventh."""
    found = []
    for step in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
        if (step + 1) % every == 0:
            scheduler.observe(METRICS[step // every % len(METRICS)])
    return found


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
        lanes.append(schedule.factor(t, total, together, state).expand(3))
        if (step + 1) % 7 == 0:
            metric = torch.full((3,), METRICS[step // 7], dtype=torch.float64)
            state = dict(schedule.observe(state, metric, together))
    for lane, hypers in enumerate(sets):
        alone = rates(scheduler_of(name, int(totals[lane]), hypers), 84)
        expected = [0.2 * float(factor[lane]) for factor in lanes]
        assert alone == pytest.approx(expected, rel=1e-14, abs=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_is_linear_and_never_zero(name: str) -> None:
    warm = rates(scheduler_of(name, 100, {"warmup_fraction": 0.2}), 100, every=1000)
    cold = rates(scheduler_of(name, 100, {}), 100, every=1000)
    assert warm[:20] == pytest.approx([0.2 * (t + 1) / 20 for t in range(20)], rel=1e-14)
    assert warm[20] == pytest.approx(0.2)
    assert cold[0] == 0.2
    assert max(warm) == pytest.approx(0.2)
    assert all(later <= earlier for earlier, later in itertools.pairwise(cold))


@pytest.mark.parametrize("name", SCHEDULES)
def test_scales_with_the_number_of_steps(name: str) -> None:
    hypers = {"warmup_fraction": 0.1}
    short = rates(scheduler_of(name, 60, hypers), 60, every=1000)
    long = rates(scheduler_of(name, 600, hypers), 600, every=10000)
    assert long[300] == pytest.approx(short[30], rel=1e-12)
    assert long[590] == pytest.approx(short[59], rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_goes_on_from_a_saved_state(name: str) -> None:
    hypers = lane_hypers(SCHEDULES[name])[2]
    straight = rates(scheduler_of(name, 84, hypers), 84)
    first = scheduler_of(name, 84, hypers)
    head = rates(first, 42)
    second = scheduler_of(name, 10, {})
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    tail = []
    for step in range(42, 84):
        tail.append(second.optimizer.param_groups[0]["lr"])
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
    t = torch.arange(60, dtype=torch.float64)
    table = schedule.factor(t, torch.tensor([60.0], dtype=torch.float64), h, state).expand(3, 60)
    expected = rates(scheduler_of(name, 60, sets[1]), 60, every=1000)
    assert (0.2 * table[1]).tolist() == pytest.approx(expected, rel=1e-14)
