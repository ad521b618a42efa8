"""Each schedule's learning rates against its formula, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from optimizers import build_optimizer, build_scheduler


def factors(name: str, total: int, hypers: dict[str, float]) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer("sgd", [parameter], {"lr": 1.0})
    scheduler = build_scheduler(name, optimizer, total, hypers)
    found = []
    for _ in range(total):
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
