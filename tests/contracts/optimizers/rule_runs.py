"""Runs of any rule, as a drop-in and over lanes, that the rules' contract tests compare."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from optimizers import RULES, Hyper, LaneOptimizer, build_optimizer
from optimizers.rule import COMMON_SWITCHES, Rule

K = 3
MLP_SHAPES = [(5, 3), (5,), (1, 5), (1,)]
SHAPES = [(), (3,), (2, 3), (2, 1, 2), (2, 2, 1, 2)]

Form = tuple[str, dict[str, object]]
Gradient = Callable[[list[Tensor], int], list[Tensor]]


def forms() -> list[Form]:
    """Every rule as it is, and with every other value of each of its own static switches."""
    found: list[Form] = []
    for name, rule in RULES.items():
        first = {switch: getattr(rule, switch) for switch in rule.switches}
        found.append((name, first))
        for switch, values in rule.switches.items():
            others = [value for value in values if value != first[switch]]
            found += [(name, {**first, switch: value}) for value in others]
    return found


def common_forms() -> list[Form]:
    """Every rule with every value of each common switch that is not its own default."""
    return [
        (name, {switch: value})
        for name, rule in RULES.items()
        for switch, values in COMMON_SWITCHES.items()
        for value in values
        if switch in rule.options and getattr(rule, switch) != value
    ]


def ident(form: object) -> str:
    return str(form).replace(" ", "")


def at(hyper: Hyper, u: float) -> float:
    """The value at the fraction `u` of the range; the default of a knob that is not searched."""
    if not hyper.searched:
        return hyper.default
    if hyper.scale == "linear":
        value = hyper.low + u * (hyper.high - hyper.low)
    elif hyper.scale == "log":
        value = float(hyper.low ** (1 - u) * hyper.high**u)
    else:
        value = float(1 - (1 - hyper.low) ** (1 - u) * (1 - hyper.high) ** u)
    return float(round(value)) if hyper.integer else value


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


def run_drop_in(
    form: Form,
    hypers: Mapping[str, float],
    start: list[Tensor],
    gradient: Gradient,
    steps: int,
    factors: tuple[float, float] = (1.0, 1.0),
) -> list[Tensor]:
    """The weights after `steps`; `factors` multiply lr and weight_decay, as a schedule does."""
    params = [torch.nn.Parameter(p.clone()) for p in start]
    optimizer = build_optimizer(form[0], params, hypers, form[1])
    (group,) = optimizer.param_groups
    group["initial_lr"] = group["lr"]
    group["lr"] *= factors[0]
    group["weight_decay"] *= factors[1]
    for step in range(steps):
        for p, g in zip(params, gradient([p.detach() for p in params], step), strict=True):
            p.grad = g
        optimizer.step()
    return [p.detach() for p in params]


def rule_of(form: Form) -> Rule:
    return RULES[form[0]].switched(form[1])


def lanes_of(form: Form, shapes: list[tuple[int, ...]]) -> LaneOptimizer:
    rule = rule_of(form)
    flat = torch.stack([flatten(initial(shapes, lane)) for lane in range(K)])
    return LaneOptimizer(rule, flat, shapes, columns(lane_hypers(rule)))


def lane_gradients(lanes: LaneOptimizer, gradient: Gradient, step: int) -> Tensor:
    rows = []
    for lane in range(lanes.flat.shape[0]):
        rows.append(flatten(gradient([view[lane] for view in lanes.params], step)))
    return torch.stack(rows)


def train(lanes: LaneOptimizer, steps: range, **arguments: Tensor) -> None:
    for step in steps:
        lanes.step(lane_gradients(lanes, noisy_gradient, step), **arguments)


def assert_lane(lanes: LaneOptimizer, lane: int, expected: list[Tensor]) -> None:
    for view, weights in zip(lanes.params, expected, strict=True):
        torch.testing.assert_close(view[lane], weights, rtol=1e-12, atol=1e-14)


def saved_and_loaded(state: dict[str, object]) -> dict[str, object]:
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    loaded: dict[str, object] = torch.load(stream, weights_only=True)
    return loaded
