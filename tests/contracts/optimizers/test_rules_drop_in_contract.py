"""What every rule of RULES must do as a drop-in; a new one needs no test here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from rule_runs import (
    SHAPES,
    Form,
    at,
    forms,
    ident,
    initial,
    lane_hypers,
    noisy_gradient,
    run_drop_in,
    saved_and_loaded,
)
from torch import Tensor

from optimizers import RULES, build_optimizer


@pytest.mark.parametrize("form", forms(), ids=ident)
def test_a_drop_in_goes_on_from_a_saved_state(form: Form) -> None:
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


def minimized(
    name: str, function: Callable[[Tensor], Tensor], hypers: dict[str, float], steps: int
) -> float:
    """What is left of the function's value after `steps`, as a share of that at the start."""
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = build_optimizer(name, [x], hypers)
    start = function(x).item()
    for _ in range(steps):
        optimizer.zero_grad()
        function(x).backward()
        optimizer.step()
    (weights,) = optimizer.averaged_parameters()
    return function(weights).item() / start


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("function", [quadratic, rosenbrock])
def test_descends_with_defaults(name: str, function: Callable[[Tensor], Tensor]) -> None:
    """As it stands, or flatter: with curvatures of 20 and 1,200 a published lr of 1 (Schedule-Free
    SGD) or 0.01 (torch's ASGD on Rosenbrock) is beyond what is stable.
    """

    def left(scale: float) -> float:
        return minimized(name, lambda x: function(x) * scale, {}, 500)

    assert any(left(scale) < 1 - 1e-6 for scale in (1.0, 1e-3))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("function", "places", "steps", "share"),
    [(quadratic, (0.4, 0.6), 1000, 0.05), (rosenbrock, (0.0, 0.4), 3000, 0.5)],
    ids=["quadratic", "rosenbrock"],
)
def test_minimizes_with_an_lr_of_its_space(
    name: str,
    function: Callable[[Tensor], Tensor],
    places: tuple[float, ...],
    steps: int,
    share: float,
) -> None:
    """At one of these places of the range: a step of lr's own length needs a larger lr."""
    rule = RULES[name]
    rates = ({lr: at(rule.hypers[lr], place) for lr in rule.scheduled} for place in places)
    assert any(minimized(name, function, lr, steps) < share for lr in rates)
