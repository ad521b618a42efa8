"""LaneOptimizer: what it refuses."""

from __future__ import annotations

import pytest
import torch

from optimizers import RULES, LaneOptimizer


def test_shapes_must_fill_a_lane() -> None:
    with pytest.raises(ValueError, match="shapes hold 7 numbers a lane, flat holds 8"):
        LaneOptimizer(RULES["adam"], torch.zeros(2, 8), [(2, 3), ()], {})


def test_an_invalid_value_in_any_lane_is_refused() -> None:
    hypers = {"lr": torch.tensor([0.1, 0.1]), "beta1": torch.tensor([0.9, 1.0])}
    with pytest.raises(ValueError, match=r"beta1 = 1\.0 is invalid; it must lie in \[0, 1\)"):
        LaneOptimizer(RULES["adam"], torch.zeros(2, 8), [(8,)], hypers)


def test_a_refused_reset_changes_nothing() -> None:
    lanes = LaneOptimizer(RULES["adam"], torch.zeros(2, 8), [(8,)], {})
    lanes.step(torch.ones(2, 8))
    before = lanes.state_dict()
    with pytest.raises(ValueError, match="adam has no hyperparameter 'momentum'"):
        lanes.reset(1, {"momentum": 0.9})
    assert torch.equal(lanes.steps, before["steps"])
    after, (rows,) = lanes.state_dict()["rows"][0], before["rows"]
    assert torch.equal(after["buffers"]["exp_avg"][0], rows["buffers"]["exp_avg"][0])


def test_float32_lanes_have_exact_coefficients() -> None:
    """A constant gradient makes each step lr; 1 - 0.9999^t in float32 would be off by 1e-4."""
    beta2 = torch.tensor([0.9999], dtype=torch.float64)
    lanes = LaneOptimizer(RULES["adam"], torch.zeros(1, 1), [(1,)], {"beta2": beta2})
    for _ in range(3):
        lanes.step(torch.full((1, 1), 3.0))
    assert lanes.flat.item() == pytest.approx(-3e-3, rel=1e-6)
