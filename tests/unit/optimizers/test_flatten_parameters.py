"""`flatten_parameters`: the same numbers faster, whatever happens to weights and state later."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from programs import noise

import optimizers
from optimizers.drop_in import RuleOptimizer

KERNELS = [
    ("AdamW", {"amsgrad": True}),
    ("Adam", {"weight_decay": 0.1, "maximize": True}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGDW", {"momentum": 0.9, "weight_decay": 0.1}),
    ("Adagrad", {"initial_accumulator_value": 0.1}),
]
each = pytest.mark.parametrize(("name", "own"), KERNELS, ids=[name for name, _ in KERNELS])
ALIKE = [(4, 3), (2, 3), (5, 3)]
MIXED = [(4, 3), (2,), (1, 5), (2, 2, 1, 2)]
Between = Callable[[RuleOptimizer], None]


def model(shapes: list[tuple[int, ...]]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(noise(torch.zeros(shape), n)) for n, shape in enumerate(shapes)]


def train(optimizer: RuleOptimizer, steps: range, without: int | None = None) -> None:
    """Noisy steps; the weight number `without` has no gradient."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for step in steps:
        for n, p in enumerate(params):
            p.grad = noise(p, 100 * step + n) if n != without else None
        optimizer.step()


def pair(name: str, own: dict[str, Any], shapes: list[tuple[int, ...]]) -> list[RuleOptimizer]:
    made = [getattr(optimizers, name)(model(shapes), lr=0.05, **own) for _ in range(2)]
    made[0].flatten_parameters()
    return made


def weights(optimizer: RuleOptimizer) -> list[torch.Tensor]:
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


def assert_alike(flat: RuleOptimizer, plain: RuleOptimizer) -> None:
    for p, q in zip(weights(flat), weights(plain), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def lies_flat(optimizer: RuleOptimizer) -> bool:
    """Do the first two weights share their memory?"""
    p, q, *_ = optimizer.param_groups[0]["params"]
    return bool(p.untyped_storage().data_ptr() == q.untyped_storage().data_ptr())


@each
@pytest.mark.parametrize("shapes", [ALIKE, MIXED], ids=["alike", "mixed"])
def test_the_steps_are_the_same(name: str, own: dict[str, Any], shapes: Any) -> None:
    """Also when a gradient is missing for a while, and with hyperparameters that change."""
    flat, plain = pair(name, own, shapes)
    before = weights(flat)
    assert lies_flat(flat)
    assert all(map(torch.equal, before, weights(plain)))
    for optimizer in (flat, plain):
        train(optimizer, range(4))
        train(optimizer, range(4, 6), without=1)
        optimizer.param_groups[0]["lr"] = 0.01
        train(optimizer, range(6, 12))
    assert_alike(flat, plain)
    assert not torch.equal(before[0], weights(flat)[0])


def replaced_data(optimizer: RuleOptimizer) -> None:
    p = optimizer.param_groups[0]["params"][1]
    p.data = p.data * 2


def replaced_state(optimizer: RuleOptimizer) -> None:
    state = optimizer.state[optimizer.param_groups[0]["params"][1]]
    buffer = optimizer.rule.buffers[0]
    state[buffer] = state[buffer] * 2


def copied_state(optimizer: RuleOptimizer) -> None:
    p = optimizer.param_groups[0]["params"][1]
    optimizer.state[p] = dict(optimizer.state[p])


def edited_in_place(optimizer: RuleOptimizer) -> None:
    with torch.no_grad():
        for p in optimizer.param_groups[0]["params"]:
            p.mul_(0.5)
            optimizer.state[p][optimizer.rule.buffers[0]].mul_(0.5)


def reloaded(optimizer: RuleOptimizer) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def another_group(optimizer: RuleOptimizer) -> None:
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.2})


def another_switch(optimizer: RuleOptimizer) -> None:
    optimizer.param_groups[0]["cautious"] = True


CHANGES = [
    replaced_data,
    replaced_state,
    copied_state,
    edited_in_place,
    reloaded,
    another_group,
    another_switch,
]


@each
@pytest.mark.parametrize("between", CHANGES)
def test_what_the_user_does_in_between_counts(
    name: str, own: dict[str, Any], between: Between
) -> None:
    flat, plain = pair(name, own, ALIKE)
    for optimizer in (flat, plain):
        train(optimizer, range(3))
        between(optimizer)
        train(optimizer, range(3, 7))
        train(optimizer, range(7, 9), without=0)
        train(optimizer, range(9, 12))
    assert_alike(flat, plain)
    steps = [[o.state[p]["step"] for p in o.param_groups[0]["params"]] for o in (flat, plain)]
    assert steps == [[10, 12, 12]] * 2


@each
@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_of_their_own(name: str, own: dict[str, Any], how: Any) -> None:
    flat, _ = pair(name, own, ALIKE)
    train(flat, range(3))
    twin = how(flat)
    train(twin, range(3, 6))
    after = weights(twin)
    train(flat, range(3, 6))
    for p, q in zip(after, weights(flat), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
    assert all(map(torch.equal, after, weights(twin)))


def test_a_model_is_saved_and_loaded_as_ever() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = optimizers.AdamW(net.parameters())
    optimizer.flatten_parameters()
    stream = io.BytesIO()
    torch.save(net.state_dict(), stream)
    stream.seek(0)
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    twin.load_state_dict(torch.load(stream, weights_only=True))
    x = torch.randn(5, 3)
    assert torch.equal(net(x), twin(x))
    net.load_state_dict({name: torch.ones_like(p) for name, p in net.state_dict().items()})
    assert lies_flat(optimizer)
    assert all(torch.equal(p, torch.ones_like(p)) for p in net.parameters())


def test_what_cannot_lie_flat_stays_where_it_is() -> None:
    """Weights that share memory, other dtypes, one alone, large ones, rules without a kernel."""
    buffer = torch.zeros(8)
    shared = [torch.nn.Parameter(buffer[:4]), torch.nn.Parameter(buffer[2:6])]
    low = [torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)) for _ in range(2)]
    for params in (shared, low, model([(3,)]), model([(300, 300), (2, 300)])):
        places = [p.data_ptr() for p in params]
        optimizers.AdamW(params).flatten_parameters()
        assert [p.data_ptr() for p in params] == places
    lion = optimizers.Lion(model(ALIKE))
    lion.flatten_parameters()
    assert not lies_flat(lion)
