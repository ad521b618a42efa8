"""Each schedule's learning rates against its formula, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from optimizers import SCHEDULES, Schedule, ScheduleLR, build_optimizer


def factors(
    schedule: str | Schedule, total: int, hypers: dict[str, float], extra: int = 0
) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer("sgd", [parameter], {"lr": 1.0, "momentum": 0.9})
    scheduler = ScheduleLR(optimizer, schedule, total, **hypers)
    found = []
    for _ in range(total + extra):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_step_cuts_at_whole_steps() -> None:
    """0.07 * 100 is 7.000000000000001 in floating point; the first cut is at update 7."""
    found = factors("step", 100, {"step_fraction": 0.07, "gamma": 0.5})
    assert found[:15] == [1.0] * 7 + [0.5] * 7 + [0.25]


def test_step_counts_the_warmup_in_and_keeps_cutting_under_it() -> None:
    found = factors("step", 10, {"step_fraction": 0.3, "gamma": 0.1, "warmup_fraction": 0.4})
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 0.1, 0.1])


def test_warmup_is_rounded_to_whole_steps() -> None:
    """0.29 * 100 is 28.999999999999996, and 1.6 steps are 2."""
    assert factors("constant", 100, {"warmup_fraction": 0.29})[27:30] == [28 / 29, 1.0, 1.0]
    assert factors("constant", 16, {"warmup_fraction": 0.1})[:3] == [0.5, 1.0, 1.0]


def test_cosine_falls_from_the_warmups_end_to_the_final_factor() -> None:
    found = factors("cosine", 100, {"warmup_fraction": 0.2, "final_factor": 0.1})
    assert found[20] == 1.0
    assert found[60] == pytest.approx(0.55)
    last = 0.1 + 0.9 * (1 + math.cos(math.pi * 79 / 80)) / 2
    assert found[99] == pytest.approx(last, rel=1e-12)


def test_exponential_reaches_the_final_factor_at_the_end() -> None:
    assert factors("exponential", 100, {"final_factor": 0.01})[50] == pytest.approx(0.1)
    warm = factors("exponential", 100, {"final_factor": 0.01, "warmup_fraction": 0.2})
    assert warm[60] == pytest.approx(0.1)


def test_multistep_cuts_at_its_two_fractions() -> None:
    found = factors("multistep", 8, {})
    assert found == pytest.approx([1.0] * 4 + [0.1] * 2 + [0.01] * 2)
    assert factors("multistep", 4, {"first_fraction": 0.9, "second_fraction": 0.5})[2:] == [0.1] * 2
    late = factors("multistep", 100, {"first_fraction": 0.29, "second_fraction": 1.0})
    assert late[28:30] == [1.0, 0.1]


def test_linear_goes_straight_to_its_end_and_stays() -> None:
    found = factors("linear", 10, {"final_factor": 0.5, "warmup_fraction": 0.2}, extra=3)
    fall = [1 - 0.5 * n / 8 for n in range(9)]
    assert found == pytest.approx([0.5, 1.0, *fall, 0.5, 0.5])


def test_polynomial_is_a_power_of_the_time_left() -> None:
    found = factors("polynomial", 10, {"power": 2.0, "final_factor": 0.1}, extra=2)
    assert found == pytest.approx([0.1 + 0.9 * (1 - n / 10) ** 2 for n in range(11)] + [0.1])


def test_cosine_restarts_at_seventh_three_sevenths_and_the_end() -> None:
    found = factors("cosine_warm_restarts", 70, {}, extra=1)
    waves = [
        (1 + math.cos(math.pi * n / length)) / 2 for length in (10, 20, 40) for n in range(length)
    ]
    assert found == pytest.approx([*waves, 1.0], rel=1e-12)
    even = factors("cosine_warm_restarts", 40, {"growth": 1, "period_fraction": 0.2}, extra=1)
    assert even == pytest.approx([(1 + math.cos(math.pi * (n % 8) / 8)) / 2 for n in range(41)])
    warm = factors("cosine_warm_restarts", 40, {"warmup_fraction": 0.1, "period_fraction": 0.2})
    assert [warm[t] for t in (4, 8, 12, 20)] == pytest.approx([1.0, 0.5, 1.0, 0.5])


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_rises_to_the_peak_and_falls_to_nearly_nothing(strategy: str) -> None:
    schedule = replace(SCHEDULES["one_cycle"], anneal_strategy=strategy)
    found = factors(schedule, 101, {"pct_start": 41 / 101, "div_factor": 10.0})
    assert found[0] == pytest.approx(0.1)
    assert found[20] == pytest.approx(0.55)
    assert found[40] == pytest.approx(1.0)
    assert found[70] == pytest.approx((1 + 1e-5) / 2)
    assert found[100] == pytest.approx(1e-5)


def test_one_cycle_in_three_phases_comes_back_to_the_start_first() -> None:
    schedule = replace(SCHEDULES["one_cycle"], three_phase=True, anneal_strategy="linear")
    found = factors(schedule, 101, {"pct_start": 41 / 101, "div_factor": 10.0})
    assert [found[t] for t in (0, 40, 60, 80, 90)] == pytest.approx([0.1, 1, 0.55, 0.1, 0.050005])
    assert found[100] == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("mode", "tops"),
    [
        ("triangular", [1.0, 1.0, 1.0]),
        ("triangular2", [1.0, 0.5, 0.25]),
        ("exp_range", [0.1 ** (t / 30) for t in (4, 14, 24)]),
    ],
)
def test_cyclic_draws_triangles_of_its_modes_height(mode: str, tops: list[float]) -> None:
    schedule = replace(SCHEDULES["cyclic"], mode=mode)
    hypers = {"step_fraction": 4 / 30, "down_ratio": 1.5, "base_factor": 0.2, "gamma": 0.1}
    found = factors(schedule, 30, hypers, extra=1)
    assert found[::10] == pytest.approx([0.2] * 4)
    assert found[4::10] == pytest.approx([0.2 + 0.8 * top for top in tops])
    if mode == "triangular":
        assert found[2::10] == pytest.approx([0.6] * 3)
        assert found[7::10] == pytest.approx([0.6] * 3)


def test_wsd_is_flat_until_its_decay() -> None:
    hypers = {"decay_fraction": 0.25, "final_factor": 0.1, "warmup_fraction": 0.1}
    found = factors("wsd", 20, hypers, extra=2)
    fall = [1 - 0.9 * math.sqrt(n / 5) for n in range(6)]
    assert found == pytest.approx([0.5, *[1.0] * 14, *fall, 0.1])


def test_inverse_sqrt_is_the_transformers_with_a_timescale_like_the_warmup() -> None:
    hypers = {"warmup_fraction": 0.04, "timescale_fraction": 0.04}
    found = factors("inverse_sqrt", 1000, hypers)
    rise = [(t + 1) / 40 for t in range(40)]
    assert found == pytest.approx(rise + [math.sqrt(40 / t) for t in range(40, 1000)])


def test_invscaling_is_a_power_of_the_time() -> None:
    found = factors("invscaling", 1000, {"power_t": 0.25})
    assert found == pytest.approx([(1 + t) ** -0.25 for t in range(1000)])
    late = factors("invscaling", 100, {"warmup_fraction": 0.1, "timescale_fraction": 0.02})
    assert late[10:] == pytest.approx([(1 + (t - 10) / 2) ** -0.5 for t in range(10, 100)])


def test_adaptive_makes_no_cut_at_its_floor() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer("sgd", [parameter], {"lr": 1.0})
    hypers = {"factor": 0.5, "patience": 0, "min_factor": 0.25}
    scheduler = ScheduleLR(optimizer, "adaptive", 100, **hypers)
    found = []
    for metric in (1.0, 1.0, 1.0, 1.0, 1.0):
        scheduler.observe(metric)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1.0, 0.5, 0.25, 0.25, 0.25]
