"""What every rule of RULES must do, as a drop-in and over lanes; a new one needs no test here."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from optimizers import RULES, Hyper, LaneOptimizer, build_optimizer
from optimizers.rule import Rule

K = 3
MLP_SHAPES = [(5, 3), (5,), (1, 5), (1,)]
SHAPES = [(), (3,), (2, 3), (2, 1, 2), (2, 2, 1, 2)]


def forms() -> list[tuple[str, dict[str, object]]]:
    """Every rule with every combination of its static switches."""
    found = []
    for name, rule in RULES.items():
        for values in itertools.product(*rule.switches.values()):
            found.append((name, dict(zip(rule.switches, values, strict=True))))
    return found


def ident(form: object) -> str:
    return str(form).replace(" ", "")


def at(hyper: Hyper, u: float) -> float:
    """The value at the fraction `u` of the range; the default of a knob that is not searched."""
    if not hyper.searched:
        return hyper.default
    if hyper.scale == "linear":
        return hyper.low + u * (hyper.high - hyper.low)
    if hyper.scale == "log":
        return float(hyper.low ** (1 - u) * hyper.high**u)
    return float(1 - (1 - hyper.low) ** (1 - u) * (1 - hyper.high) ** u)


def lane_hypers(rule: Rule) -> list[dict[str, float]]:
    """K sets over the search space; lr from its lower half, where a small model is stable."""
    return [
        {
            name: at(hyper, (0.45 - 0.2 * lane) if name == "lr" else (0.2 + 0.3 * lane))
            for name, hyper in rule.hypers.items()
        }
        for lane in range(K)
    ]


def columns(sets: list[dict[str, float]]) -> dict[str, Tensor]:
    return {name: torch.tensor([h[name] for h in sets], dtype=torch.float64) for name in sets[0]}


def initial(shapes: list[tuple[int, ...]], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def mlp_gradient(params: list[Tensor], _step: int) -> list[Tensor]:
    """The gradient of a one-hidden-layer net's squared error on a fixed small data set."""
    leaves = [p.detach().clone().requires_grad_() for p in params]
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3)
    hidden = torch.tanh(x @ leaves[0].T + leaves[1])
    loss = ((hidden @ leaves[2].T + leaves[3]) - x.sum(1, keepdim=True).sin()).square().mean()
    return list(torch.autograd.grad(loss, leaves))


def noisy_gradient(params: list[Tensor], step: int) -> list[Tensor]:
    noise = initial([tuple(p.shape) for p in params], 1000 + step)
    return [0.5 * p + n for p, n in zip(params, noise, strict=True)]


Gradient = Callable[[list[Tensor], int], list[Tensor]]


def run_drop_in(
    form: tuple[str, dict[str, object]],
    hypers: Mapping[str, float],
    start: list[Tensor],
    gradient: Gradient,
    steps: int,
) -> list[Tensor]:
    params = [torch.nn.Parameter(p.clone()) for p in start]
    optimizer = build_optimizer(form[0], params, hypers, form[1])
    for step in range(steps):
        for p, g in zip(params, gradient([p.detach() for p in params], step), strict=True):
            p.grad = g
        optimizer.step()
    return [p.detach() for p in params]


def lanes_of(form: tuple[str, dict[str, object]], shapes: list[tuple[int, ...]]) -> LaneOptimizer:
    rule = RULES[form[0]].switched(form[1])
    flat = torch.stack([flatten(initial(shapes, lane)) for lane in range(K)])
    return LaneOptimizer(rule, flat, shapes, columns(lane_hypers(rule)))


def lane_gradients(lanes: LaneOptimizer, gradient: Gradient, step: int) -> Tensor:
    rows = []
    for lane in range(K):
        rows.append(flatten(gradient([view[lane] for view in lanes.params], step)))
    return torch.stack(rows)


@pytest.mark.parametrize("form", forms(), ids=ident)
@pytest.mark.parametrize(
    ("shapes", "gradient"),
    [(MLP_SHAPES, mlp_gradient), (SHAPES, noisy_gradient)],
    ids=["mlp", "shapes"],
)
def test_lanes_equal_drop_ins(
    form: tuple[str, dict[str, object]], shapes: list[tuple[int, ...]], gradient: Gradient
) -> None:
    lanes = lanes_of(form, shapes)
    for step in range(100):
        lanes.step(lane_gradients(lanes, gradient, step))
    for lane, hypers in enumerate(lane_hypers(lanes.rule)):
        alone = run_drop_in(form, hypers, initial(shapes, lane), gradient, 100)
        for view, expected in zip(lanes.params, alone, strict=True):
            torch.testing.assert_close(view[lane], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_updates_happen_in_the_callers_buffer(form: tuple[str, dict[str, object]]) -> None:
    lanes = lanes_of(form, SHAPES)
    flat, before = lanes.flat, lanes.flat.clone()
    lanes.step(lane_gradients(lanes, noisy_gradient, 0))
    assert lanes.flat is flat
    assert not torch.equal(flat, before)
    views = torch.cat([view.reshape(K, -1) for view in lanes.params], dim=1)
    assert torch.equal(views, flat)


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_a_nan_lane_stays_alone(form: tuple[str, dict[str, object]]) -> None:
    healthy, ill = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    for step in range(10):
        healthy.step(lane_gradients(healthy, noisy_gradient, step))
        grad = lane_gradients(ill, noisy_gradient, step)
        if step == 3:
            grad[1] = float("nan")
        ill.step(grad)
    assert ill.flat[1].isnan().all()
    assert torch.equal(ill.flat[[0, 2]], healthy.flat[[0, 2]])


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_a_refilled_lane_is_a_fresh_run_and_the_others_go_on(
    form: tuple[str, dict[str, object]],
) -> None:
    lanes, undisturbed = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    hypers = {name: at(h, 0.35) for name, h in lanes.rule.hypers.items()}
    for step in range(20):
        if step == 7:
            lanes.flat[1] = float("nan")
            lanes.step(
                torch.full_like(lanes.flat, float("nan")).where(
                    torch.tensor([[False], [True], [False]]),
                    lane_gradients(lanes, noisy_gradient, step),
                )
            )
            lanes.flat[1] = flatten(initial(SHAPES, 9))
            lanes.reset(1, hypers)
        else:
            lanes.step(lane_gradients(lanes, noisy_gradient, step))
        undisturbed.step(lane_gradients(undisturbed, noisy_gradient, step))
    assert torch.equal(lanes.flat[[0, 2]], undisturbed.flat[[0, 2]])
    assert lanes.steps.tolist() == [20, 12, 20]
    fresh = run_drop_in(
        form, hypers, initial(SHAPES, 9), lambda p, step: noisy_gradient(p, step + 8), 12
    )
    for view, expected in zip(lanes.params, fresh, strict=True):
        torch.testing.assert_close(view[1], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_a_lanes_lr_factor_is_another_lr(form: tuple[str, dict[str, object]]) -> None:
    scaled, direct = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    factor = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    direct.hypers["lr"] *= factor
    start = scaled.flat.clone()
    for step in range(5):
        scaled.step(lane_gradients(scaled, noisy_gradient, step), factor)
        direct.step(lane_gradients(direct, noisy_gradient, step))
    assert torch.equal(scaled.flat, direct.flat)
    assert torch.equal(scaled.flat[2], start[2])


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_lanes_go_on_from_a_saved_state(form: tuple[str, dict[str, object]]) -> None:
    straight, restarted = lanes_of(form, SHAPES), lanes_of(form, SHAPES)
    for step in range(20):
        if step == 10:
            saved = saved_and_loaded(restarted.state_dict())
            flat = restarted.flat.clone()
            restarted = LaneOptimizer(restarted.rule, flat, SHAPES, {})
            restarted.load_state_dict(saved)
        for lanes in (straight, restarted):
            lanes.step(lane_gradients(lanes, noisy_gradient, step))
    assert torch.equal(straight.flat, restarted.flat)


def saved_and_loaded(state: dict[str, object]) -> dict[str, object]:
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_a_drop_in_goes_on_from_a_saved_state(form: tuple[str, dict[str, object]]) -> None:
    name, switches = form
    hypers = lane_hypers(RULES[name])[1]
    params = [torch.nn.Parameter(p) for p in initial(SHAPES, 1)]
    optimizer = build_optimizer(name, params, hypers, switches)
    for step in range(20):
        if step == 10:
            saved = saved_and_loaded(optimizer.state_dict())
            # Other hyperparameters at first: those of the state must win.
            optimizer = build_optimizer(name, params, lane_hypers(RULES[name])[2], switches)
            optimizer.load_state_dict(saved)
        for p, g in zip(params, noisy_gradient([p.detach() for p in params], step), strict=True):
            p.grad = g
        optimizer.step()
    straight = run_drop_in(form, hypers, initial(SHAPES, 1), noisy_gradient, 20)
    assert all(torch.equal(p, q) for p, q in zip(params, straight, strict=True))


def quadratic(x: Tensor) -> Tensor:
    return (torch.tensor([1.0, 10.0], dtype=x.dtype) * x.square()).sum()


def rosenbrock(x: Tensor) -> Tensor:
    return (1 - x[0]).square() + 100 * (x[1] - x[0].square()).square()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("function", "where", "steps", "share"),
    [(quadratic, 0.4, 1000, 0.05), (rosenbrock, 0.0, 3000, 0.5)],
    ids=["quadratic", "rosenbrock"],
)
def test_descends(
    name: str, function: Callable[[Tensor], Tensor], where: float, steps: int, share: float
) -> None:
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = build_optimizer(name, [x], {"lr": at(RULES[name].hypers["lr"], where)})
    start = function(x).item()
    for _ in range(steps):
        optimizer.zero_grad()
        function(x).backward()
        optimizer.step()
    assert function(x).item() < share * start
