"""LaneOptimizer: what it refuses."""

from __future__ import annotations

from collections.abc import Callable

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


def adamw_lanes(dtype: torch.dtype = torch.float32) -> LaneOptimizer:
    lr = torch.full((3,), 0.1, dtype=torch.float64)
    return LaneOptimizer(RULES["adamw"], torch.zeros(3, 4, dtype=dtype), [(4,)], {"lr": lr})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lanes: lanes.reset(7, {}), r"lanes = \[7\] is invalid; give lanes of 0\.\.2"),
        (lambda lanes: lanes.reset(-1, {}), r"lanes = \[-1\] is invalid"),
        (lambda lanes: lanes.compact([0, 0]), r"each at most once"),
        (lambda lanes: lanes.compact([]), r"lanes = \[\] is invalid"),
        (lambda lanes: lanes.step(torch.zeros(1, 4)), r"grad is \[1, 4\], flat is \[3, 4\]"),
        (lambda _: adamw_lanes(torch.bfloat16), r"lanes hold float32 or float64 weights"),
        (
            lambda lanes: LaneOptimizer(
                RULES["adamw"], lanes.flat, [(4,)], {"lr": torch.ones(5, dtype=torch.float64)}
            ),
            r"lr has the shape \[5\]; it must have a number a lane, \[3\]",
        ),
        (
            lambda lanes: LaneOptimizer(
                RULES["sgd"].switched({"nesterov": True}), lanes.flat, [(4,)], {}
            ),
            r"nesterov = True needs momentum",
        ),
        (
            lambda lanes: LaneOptimizer(
                RULES["adamw"].switched({"amsgrad": True}), lanes.flat, [(4,)], {}
            ).load_state_dict(lanes.state_dict()),
            r"rules and lanes in the state: .*amsgrad=False.*, here: .*amsgrad=True",
        ),
    ],
)
def test_misuse_is_refused(call: Callable[[LaneOptimizer], object], message: str) -> None:
    lanes = adamw_lanes()
    lanes.step(torch.ones(3, 4))
    before = lanes.flat.clone()
    with pytest.raises(ValueError, match=message):
        call(lanes)
    assert torch.equal(lanes.flat, before)


def test_refilled_lanes_of_several_rules_go_on_from_a_saved_state() -> None:
    """In whatever order they came to their rules."""
    lanes = adamw_lanes(torch.float64)
    for step in range(6):
        lanes.step(torch.full((3, 4), 1.0 + step, dtype=torch.float64))
        if step in (1, 3):
            lanes.reset(step // 2, {"lr": 0.2}, RULES["lion" if step == 1 else "sgd"])
    rules = [RULES["lion"], RULES["sgd"], RULES["adamw"]]
    assert lanes.rules == rules
    again = LaneOptimizer(rules, lanes.flat.clone(), [(4,)], {})
    again.load_state_dict(lanes.state_dict())
    for own in (lanes, again):
        own.step(torch.full((3, 4), 0.5, dtype=torch.float64))
    assert torch.equal(lanes.flat, again.flat)


def test_a_refill_by_the_same_rule_keeps_the_lanes_in_place() -> None:
    lanes = adamw_lanes()
    lanes.step(torch.ones(3, 4))
    (rows,) = lanes.rows
    lanes.reset(0, {})
    assert lanes.rows == [rows]
    assert rows.lanes == [0, 1, 2]
