"""An epoch's coefficients at once: updates by them are those of one step after the other."""

from __future__ import annotations

import pytest
import torch
from rule_runs import SHAPES, K, columns, flatten, ident, initial, lane_hypers, noisy_gradient
from torch import Tensor

from optimizers import RULES, LaneOptimizer
from optimizers.compiled import can_compile
from optimizers.lane_tables import Tables, can_tabulate, update_lanes

STEPS = 6
ELEMENTWISE = [name for name, rule in RULES.items() if can_compile(rule)]
FACTORS = torch.linspace(1, 0.1, STEPS, dtype=torch.float64).outer(
    torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
)


def lanes_of(*names: str) -> LaneOptimizer:
    rules = [RULES[names[lane % len(names)]] for lane in range(K)]
    flat = torch.stack([flatten(initial(SHAPES, lane)) for lane in range(K)])
    every = {name for rule in rules for name in rule.hypers}
    sets = [lane_hypers(rule)[lane] for lane, rule in enumerate(rules)]
    filled = [{name: own.get(name, 0.5) for name in every} for own in sets]
    return LaneOptimizer(rules, flat, SHAPES, columns(filled), whole=True)


def gradient(lanes: LaneOptimizer, step: int) -> Tensor:
    rows = [[view[lane] for view in lanes.params] for lane in range(K)]
    return torch.stack([flatten(noisy_gradient(row, step)) for row in rows])


def by_table(lanes: LaneOptimizer, first: int, moved: dict[str, Tensor]) -> None:
    tables = Tables(lanes, FACTORS, moved)
    for step in range(STEPS):
        values = [table[step] for table in tables.values]
        update_lanes(
            tables.formulas,
            lanes.flat,
            gradient(lanes, first + step),
            tables.buffers,
            values,
            tables.masks,
        )
    tables.count()


def step_by_step(lanes: LaneOptimizer, first: int, moved: dict[str, Tensor]) -> None:
    for step in range(STEPS):
        lanes.hypers |= {name: column[step] for name, column in moved.items()}
        lanes.step(gradient(lanes, first + step), FACTORS[step])


def assert_equal(lanes: LaneOptimizer, wanted: LaneOptimizer) -> None:
    # Not all bits: a power of 18 numbers and one of 3 go through other instructions.
    torch.testing.assert_close(lanes.flat, wanted.flat, rtol=1e-13, atol=1e-15)
    assert torch.equal(lanes.steps, wanted.steps)
    for rows, others in zip(lanes.rows, wanted.rows, strict=True):
        assert rows.numbers.keys() == others.numbers.keys()
        for name, values in rows.numbers.items():
            for lane in rows.own:
                own, other = values[lane].tolist(), others.numbers[name][lane].tolist()
                assert own == pytest.approx(other, rel=1e-13), (name, lane)


@pytest.mark.parametrize("name", ELEMENTWISE, ids=ident)
def test_two_epochs_by_table_are_those_of_single_steps(name: str) -> None:
    lanes, wanted = lanes_of(name), lanes_of(name)
    for epoch in range(2):
        by_table(lanes, epoch * STEPS, {})
        step_by_step(wanted, epoch * STEPS, {})
    assert_equal(lanes, wanted)


def test_rules_keep_their_own_rows_and_a_schedule_moves_momentum() -> None:
    names = ("adamw", "sgd", "nadam")
    lanes, wanted = lanes_of(*names), lanes_of(*names)
    up = torch.linspace(0.5, 0.9, STEPS, dtype=torch.float64).unsqueeze(1)
    moved = {"beta1": up.expand(-1, K) * torch.tensor([1.0, 1.0, 0.9])}
    for epoch in range(2):
        by_table(lanes, epoch * STEPS, moved)
        step_by_step(wanted, epoch * STEPS, moved)
    assert_equal(lanes, wanted)
    assert lanes.hypers["beta1"][0] == pytest.approx(0.9)


def test_nothing_changes_before_it_is_counted() -> None:
    lanes = lanes_of("nadam")
    Tables(lanes, FACTORS, {})
    assert lanes.steps.tolist() == [0, 0, 0]
    assert lanes.rows[0].numbers["mu_product"].tolist() == [1, 1, 1]


def test_only_elementwise_rules_in_rows_of_all_lanes_have_tables() -> None:
    assert can_tabulate(lanes_of("adamw", "lion"))
    assert not can_tabulate(lanes_of("adamw", "lamb"))  # it needs each weight's own norm
    parted = lanes_of("adamw", "sgd")
    parted.part()
    assert not can_tabulate(parted)
    assert [sorted(rows.lanes) for rows in parted.rows] == [[0, 2], [1]]
