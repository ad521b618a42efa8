"""What users do to weights, gradients and state between steps, beside torch doing the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from programs import each_class, noise, weights
from torch.optim import Optimizer

import optimizers
import optimizers.lr_scheduler
from optimizers.drop_in import RuleOptimizer

WITH_KERNELS = ["SGD", "Adam", "AdamW", "Adagrad"]
each_kernel = pytest.mark.parametrize("name", WITH_KERNELS)


def beside_torch(name: str, between: Callable[[Optimizer, torch.nn.Parameter], None]) -> None:
    """Two steps, `between`, two steps: with our class and with torch's on the same gradients."""
    found = []
    for library in (optimizers, torch.optim):
        (p,) = weights(noise(torch.zeros(6, 6), 0))
        own = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(library, name)([p], lr=0.05, **own)
        for step in range(4):
            if step == 2:
                between(optimizer, p)
            p.grad = noise(p, step)
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


@each_kernel
@pytest.mark.parametrize(
    "moved",
    [
        lambda data: data.clone(),
        lambda data: data.t().contiguous().t(),  # as model.to(memory_format=...) does
        lambda data: data.double(),
    ],
    ids=["elsewhere", "strides", "dtype"],
)
def test_a_weight_whose_data_moved(name: str, moved: Callable[[Any], Any]) -> None:
    def between(optimizer: Optimizer, p: torch.nn.Parameter) -> None:
        p.grad = None
        p.data = moved(p.data)
        for key, value in optimizer.state[p].items():
            if isinstance(value, torch.Tensor) and value.shape == p.shape:
                optimizer.state[p][key] = value.to(p.dtype)

    beside_torch(name, between)


@each_kernel
def test_a_state_that_was_replaced_or_deleted(name: str) -> None:
    def replaced(optimizer: Optimizer, p: torch.nn.Parameter) -> None:
        optimizer.state[p] = {
            key: value * 2 if isinstance(value, torch.Tensor) and value.shape == p.shape else value
            for key, value in optimizer.state[p].items()
        }

    beside_torch(name, replaced)
    if name != "Adagrad":  # torch's makes its state in the constructor only
        beside_torch(name, lambda optimizer, p: optimizer.state.pop(p))


@each_kernel
def test_weights_of_another_size_are_an_error_and_no_memory_is_touched(name: str) -> None:
    (p,) = weights(torch.ones(4, 5))
    optimizer = getattr(optimizers, name)([p], **({"momentum": 0.9} if name == "SGD" else {}))
    p.grad = torch.ones(4, 5)
    optimizer.step()
    p.grad = None
    p.data = torch.ones(40, 50)
    p.grad = torch.ones(40, 50)
    with pytest.raises(RuntimeError, match="size"):
        optimizer.step()


@each_class
def test_a_parameter_replaced_in_its_group(cls: type[RuleOptimizer]) -> None:
    """As Gaussian splatting does: a new parameter in the old one's place, with its state."""
    p, twin = weights(torch.ones(3, 2), torch.ones(3, 2))
    optimizer, straight = cls([p], lr=0.05), cls([twin], lr=0.05)
    for step in range(6):
        if step == 3:
            new = torch.nn.Parameter(p.detach().clone())
            optimizer.state[new] = optimizer.state.pop(p)
            optimizer.param_groups[0]["params"][0] = p = new
        p.grad, twin.grad = noise(p, step), noise(p, step)
        optimizer.step()
        straight.step()
    assert torch.equal(p, twin)


@each_class
@pytest.mark.parametrize("switch", ["cautious", "centralize", "decay"])
def test_a_switch_that_is_changed_between_steps(cls: type[RuleOptimizer], switch: str) -> None:
    if switch not in cls.rule.options:
        pytest.skip("the rule averages its own weights")
    value = "l2" if switch == "decay" else True
    (changed,), (fresh,) = weights(torch.ones(4, 3)), weights(torch.ones(4, 3))
    optimizer = cls([changed], lr=0.05, weight_decay=0.1)
    for step in range(3):
        changed.grad = noise(changed, step)
        optimizer.step()
    fresh.data.copy_(changed)
    other = cls([fresh], lr=0.05, weight_decay=0.1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, p in ((optimizer, changed), (other, fresh)):
        each.param_groups[0][switch] = value
        p.grad = noise(p, 3)
        each.step()
    torch.testing.assert_close(changed, fresh, rtol=1e-12, atol=0)


@each_class
def test_weights_without_numbers_are_passed_over(cls: type[RuleOptimizer]) -> None:
    params = weights(torch.ones(3), torch.ones(0), torch.ones(3, 0))
    optimizer = cls(params, lr=0.05)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.step()
    assert [tuple(p.shape) for p in params] == [(3,), (0,), (3, 0)]


def test_a_weight_with_a_late_gradient_has_its_own_distance_with_prodigy() -> None:
    """Its first weights are those before its own first update, not zeros."""
    early, late = weights(torch.full((3,), 5.0), torch.full((2,), 5.0))
    optimizer = optimizers.Prodigy([early, late])
    for step in range(60):
        early.grad = early.detach().clone()
        late.grad = late.detach().clone() if step >= 5 else None
        optimizer.step()
    assert torch.equal(optimizer.state[late]["p0"], torch.full((2,), 5.0))
    assert optimizer.param_groups[0]["lane_state"]["d"].item() > 0.1


@each_kernel
def test_a_compiled_step_needs_no_kernel(name: str) -> None:
    found = []
    for compiled in (False, True):
        (p,) = weights(torch.ones(4))
        optimizer = getattr(optimizers, name)([p], lr=0.1)
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for seed in range(3):
            p.grad = noise(p, seed)
            step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=0)


def test_a_sparse_gradient_in_any_group_leaves_all_groups_as_they_are() -> None:
    first, second = weights(torch.ones(2), torch.ones(2))
    optimizer = optimizers.Lion([{"params": [first]}, {"params": [second]}], lr=0.1)
    first.grad, second.grad = torch.ones(2), torch.ones(2).to_sparse()
    with pytest.raises(RuntimeError, match="Lion does not support sparse gradients"):
        optimizer.step()
    assert torch.equal(first, torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": "0.1"}, r"lr = '0\.1' is invalid; it must be a number"),
        ({"lr": None}, r"lr = None is invalid; it must be a number"),
        ({"lr": True}, r"lr = True is invalid; it must be a number"),
        ({"betas": 0.9}, r"betas = 0\.9 is invalid; it must hold 2 numbers"),
        ({"betas": (0.9, 0.99, 0.999)}, r"betas = \(0\.9.* is invalid; it must hold 2 numbers"),
        ({"decay": ["l2"]}, r"decay = \['l2'\] is invalid; it must be one of l2, decoupled"),
        ({"amsgrad": 1}, r"amsgrad = 1 is invalid; it must be one of False, True"),
        ({"maximize": "no"}, r"maximize = 'no' is invalid; it must be True or False"),
        ({"decoupled_weight_decay": "x"}, r"decoupled_weight_decay = 'x' is invalid"),
    ],
)
def test_arguments_of_a_wrong_type_or_length(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optimizers.Adam(weights(torch.ones(2)), **arguments)


def test_independent_decay_has_a_default_of_its_own_size() -> None:
    """AdamW's 0.01 is meant times its lr of 1e-3; by itself it would halve weights in 70 steps."""
    adamw = optimizers.AdamW(weights(torch.ones(1)), decay="independent")
    assert adamw.defaults["weight_decay"] == pytest.approx(1e-5)
    given = optimizers.AdamW(weights(torch.ones(1)), decay="independent", weight_decay=0.2)
    assert given.defaults["weight_decay"] == 0.2


@each_class
def test_a_gradient_that_is_not_finite_raises_nothing(cls: type[RuleOptimizer]) -> None:
    """A sweep calls such a trial diverged, and a crash a failure; 12 steps cover SOAP's refresh."""
    for ill in (float("nan"), float("inf"), 1e25):
        (p,) = weights(torch.ones(4, 3))
        optimizer = cls([p], lr=0.05)
        for step in range(14):
            p.grad = noise(p, step) if step != 3 else torch.full_like(p, ill)
            optimizer.step()


@pytest.mark.parametrize("by", ["hand", "plateau", "ours", "torchs", "cyclic", "one_cycle"])
def test_what_follows_the_schedule_follows_every_way_of_setting_lr(by: str) -> None:
    """Independent decay shrinks weights of zero gradient by weight_decay times lr over its peak."""
    (p,) = weights(torch.ones(2))
    optimizer = optimizers.AdamW([p], lr=0.1, weight_decay=0.01, decay="independent")
    library, quiet = torch.optim.lr_scheduler, {"cycle_momentum": False}
    scheduler: Any = {
        "plateau": lambda: library.ReduceLROnPlateau(optimizer, patience=0),
        "ours": lambda: optimizers.lr_scheduler.StepLR(optimizer, 1),
        "torchs": lambda: library.StepLR(optimizer, 1),
        "cyclic": lambda: optimizers.lr_scheduler.CyclicLR(optimizer, 0.01, 1.0, 3, **quiet),
        "one_cycle": lambda: library.OneCycleLR(optimizer, 1.0, total_steps=4, **quiet),
        "hand": lambda: None,
    }[by]()
    peak = 1.0 if by in ("cyclic", "one_cycle") else 0.1
    for _ in range(3):
        before, lr = p[0].item(), float(optimizer.param_groups[0]["lr"])
        p.grad = torch.zeros(2)
        optimizer.step()
        assert 1 - p[0].item() / before == pytest.approx(0.01 * lr / peak, rel=1e-4, abs=1e-7)
        if by == "hand":
            optimizer.param_groups[0]["lr"] *= 0.1
        else:
            scheduler.step(*([1.0] if by == "plateau" else []))
    assert optimizer.param_groups[0]["lr"] != 0.1
