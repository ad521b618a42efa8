"""What every rule of RULES must do over lanes, beside its drop-in; a new one needs no test here."""

from __future__ import annotations

import pytest
import torch
from rule_runs import (
    MLP_SHAPES,
    SHAPES,
    Form,
    Gradient,
    K,
    assert_lane,
    at,
    columns,
    common_forms,
    flatten,
    forms,
    ident,
    initial,
    lane_gradients,
    lane_hypers,
    lanes_of,
    mlp_gradient,
    noisy_gradient,
    rule_of,
    run_drop_in,
    saved_and_loaded,
    train,
)

from optimizers import LaneOptimizer

each_form = pytest.mark.parametrize("form", forms(), ids=ident)


@each_form
@pytest.mark.parametrize(
    ("shapes", "gradient"),
    [(MLP_SHAPES, mlp_gradient), (SHAPES, noisy_gradient)],
    ids=["mlp", "shapes"],
)
def test_lanes_equal_drop_ins(
    form: Form, shapes: list[tuple[int, ...]], gradient: Gradient
) -> None:
    lanes = lanes_of(form, shapes)
    for step in range(100):
        lanes.step(lane_gradients(lanes, gradient, step))
    for lane, hypers in enumerate(lane_hypers(rule_of(form))):
        assert_lane(lanes, lane, run_drop_in(form, hypers, initial(shapes, lane), gradient, 100))


@pytest.mark.parametrize("form", common_forms(), ids=ident)
def test_common_switches_change_lanes_and_drop_ins_alike(form: Form) -> None:
    """Under a schedule's factor too, by which independent decay differs from decoupled."""
    lanes, plain = lanes_of(form, SHAPES), lanes_of((form[0], {}), SHAPES)
    factor, decay = (torch.full((K,), x, dtype=torch.float64) for x in (0.7, 0.5))
    for own in (lanes, plain):
        train(own, range(30), lr_factor=factor, decay_factor=decay)
    assert not torch.allclose(lanes.flat, plain.flat, rtol=1e-12, atol=0)
    for lane, hypers in enumerate(lane_hypers(rule_of(form))):
        start = initial(SHAPES, lane)
        assert_lane(lanes, lane, run_drop_in(form, hypers, start, noisy_gradient, 30, (0.7, 0.5)))


@each_form
def test_updates_happen_in_the_callers_buffer(form: Form) -> None:
    lanes = lanes_of(form, SHAPES)
    flat, before = lanes.flat, lanes.flat.clone()
    train(lanes, range(10))  # RAdam may skip the first five
    assert lanes.flat is flat
    assert not torch.equal(flat, before)
    views = torch.cat([view.reshape(K, -1) for view in lanes.params], dim=1)
    assert torch.equal(views, flat)


@each_form
def test_a_nan_lane_stays_alone(form: Form) -> None:
    healthy, ill = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    for step in range(10):
        healthy.step(lane_gradients(healthy, noisy_gradient, step))
        grad = lane_gradients(ill, noisy_gradient, step)
        if step == 3:
            grad[1] = float("nan")
        ill.step(grad)
    assert ill.flat[1].isnan().all()
    assert torch.equal(ill.flat[[0, 2]], healthy.flat[[0, 2]])


@each_form
def test_a_frozen_lane_stays_and_changes_no_other(form: Form) -> None:
    """Frozen for five updates, it goes on as if they had not been."""
    lanes, undisturbed = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    train(lanes, range(5))
    before = lanes.flat[1].clone()
    train(lanes, range(5, 10), active=torch.tensor([True, False, True]))
    assert torch.equal(lanes.flat[1], before)
    assert lanes.steps.tolist() == [10, 5, 10]
    train(undisturbed, range(10))
    assert torch.equal(lanes.flat[[0, 2]], undisturbed.flat[[0, 2]])
    alone = run_drop_in(
        form,
        lane_hypers(rule_of(form))[1],
        initial(SHAPES, 1),
        lambda p, step: noisy_gradient(p, step if step < 5 else step + 5),
        10,
    )
    train(lanes, range(10, 15))
    assert_lane(lanes, 1, alone)


@each_form
def test_the_lanes_that_stay_after_a_compaction_go_on(form: Form) -> None:
    lanes, undisturbed = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    train(lanes, range(12))
    lanes.compact([2, 0])
    train(lanes, range(12, 20))
    train(undisturbed, range(20))
    torch.testing.assert_close(lanes.flat, undisturbed.flat[[2, 0]], rtol=1e-12, atol=1e-14)
    assert lanes.params[0].shape[0] == 2


@each_form
def test_a_refilled_lane_is_a_fresh_run_and_the_others_go_on(form: Form) -> None:
    lanes, undisturbed = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    hypers = {name: at(h, 0.35) for name, h in rule_of(form).hypers.items()}
    for step in range(20):
        if step == 7:
            grad = lane_gradients(lanes, noisy_gradient, step)
            grad[1] = lanes.flat[1] = float("nan")
            lanes.step(grad)
            lanes.flat[1] = flatten(initial(SHAPES, 9))
            lanes.reset(1, hypers)
        else:
            lanes.step(lane_gradients(lanes, noisy_gradient, step))
        undisturbed.step(lane_gradients(undisturbed, noisy_gradient, step))
    torch.testing.assert_close(lanes.flat[[0, 2]], undisturbed.flat[[0, 2]], rtol=1e-12, atol=1e-14)
    assert lanes.steps.tolist() == [20, 12, 20]
    start = initial(SHAPES, 9)
    later = lambda p, step: noisy_gradient(p, step + 8)  # noqa: E731
    assert_lane(lanes, 1, run_drop_in(form, hypers, start, later, 12))


@each_form
def test_a_lane_is_refilled_with_another_algorithm(form: Form) -> None:
    """One buffer, rows of two algorithms, from adamw to this rule and from this rule to adamw."""
    adamw: Form = ("adamw", {}) if form[0] != "adamw" else ("sgd", {})
    lanes = lanes_of(adamw, SHAPES)
    train(lanes, range(4))
    hypers = lane_hypers(rule_of(form))[1]
    lanes.flat[1] = flatten(initial(SHAPES, 9))
    lanes.reset(1, hypers, rule_of(form))
    train(lanes, range(4, 10))
    assert [rule.name for rule in lanes.rules] == [adamw[0], form[0], adamw[0]]
    later = lambda p, step: noisy_gradient(p, step + 4)  # noqa: E731
    assert_lane(lanes, 1, run_drop_in(form, hypers, initial(SHAPES, 9), later, 6))
    others = lane_hypers(rule_of(adamw))
    lanes.flat[1] = flatten(initial(SHAPES, 5))
    lanes.reset(1, others[1], rule_of(adamw))
    train(lanes, range(10, 16))
    assert len(lanes.rows) == 1
    again = lambda p, step: noisy_gradient(p, step + 10)  # noqa: E731
    assert_lane(lanes, 1, run_drop_in(adamw, others[1], initial(SHAPES, 5), again, 6))
    for lane in (0, 2):
        alone = run_drop_in(adamw, others[lane], initial(SHAPES, lane), noisy_gradient, 16)
        assert_lane(lanes, lane, alone)


@each_form
def test_a_lanes_lr_factor_is_another_lr(form: Form) -> None:
    scaled, direct = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    factor = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
    for name in rule_of(form).scheduled:
        direct.hypers[name] *= factor
    train(scaled, range(5), lr_factor=factor)
    train(direct, range(5))
    torch.testing.assert_close(scaled.flat, direct.flat, rtol=1e-12, atol=1e-14)


@each_form
def test_lanes_go_on_from_a_saved_state(form: Form) -> None:
    straight, restarted = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    for step in range(20):
        if step == 10:
            saved = saved_and_loaded(restarted.state_dict())
            flat = restarted.flat.clone()
            # Other hyperparameters at first: those of the state must win.
            others = columns([lane_hypers(rule_of(form))[2]] * K)
            restarted = LaneOptimizer(rule_of(form), flat, SHAPES, others)
            restarted.load_state_dict(saved)
        for lanes in (straight, restarted):
            lanes.step(lane_gradients(lanes, noisy_gradient, step))
    assert torch.equal(straight.flat, restarted.flat)
