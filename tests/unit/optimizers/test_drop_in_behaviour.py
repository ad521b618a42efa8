"""The drop-ins as torch optimizers: groups, closures, hooks, copies, torch's schedulers, errors."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer, lr_scheduler

import optimizers
from optimizers import SGD, SGDW, Adam, AdamW, build_optimizer
from optimizers.drop_in import RuleOptimizer

CLASSES = [SGD, SGDW, Adam, AdamW]
IN_TORCH = ["SGD", "Adam", "AdamW"]
each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
each_in_torch = pytest.mark.parametrize("name", IN_TORCH)


def net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    return torch.nn.Sequential(*layers).double()


def loss_of(model: torch.nn.Module) -> torch.Tensor:
    x = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(10, 4)
    return (model(x) - x[:, :2].sin()).square().mean()


def train(
    model: torch.nn.Module, optimizer: Optimizer, steps: int, after: Any = None
) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        if after is not None:
            after.step()
        losses.append(loss.item())
    return losses


def both(name: str, run: Callable[[Any], list[float]], rel: float = 1e-12) -> None:
    """The same program with our class and with torch's gives the same numbers."""
    assert run(getattr(optimizers, name)) == pytest.approx(run(getattr(torch.optim, name)), rel=rel)


@each_in_torch
def test_param_groups_with_their_own_hyperparameters(name: str) -> None:
    own = {"momentum": 0.8} if name == "SGD" else {"betas": (0.7, 0.9)}

    def run(cls: Any) -> list[float]:
        model = net()
        groups = [
            {"params": model[0].parameters(), "lr": 0.05, **own},
            {"params": [model[2].weight], "weight_decay": 0.2},
        ]
        optimizer = cls(groups, lr=0.01)
        losses = train(model, optimizer, 20)
        optimizer.add_param_group({"params": [model[2].bias], "lr": 0.1, "maximize": False})
        return losses + train(model, optimizer, 20)

    both(name, run)


@each_in_torch
def test_parameters_by_name(name: str) -> None:
    both(name, lambda cls: train(model := net(), cls(model.named_parameters(), lr=0.02), 20))


@each_in_torch
@pytest.mark.parametrize(
    "build",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30),
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=61),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.05, step_size_up=7),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.95**t),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o), lr_scheduler.StepLR(o, 9)], milestones=[10]
        ),
    ],
    ids=["cosine", "one_cycle", "cyclic", "lambda", "sequential"],
)
def test_torchs_schedulers_drive_it(name: str, build: Callable[[Optimizer], Any]) -> None:
    chosen = {"momentum": 0.9} if name == "SGD" else {}

    def run(cls: Any) -> list[float]:
        model = net()
        optimizer = cls(model.parameters(), lr=0.02, **chosen)
        return train(model, optimizer, 60, build(optimizer))

    both(name, run)


@each_in_torch
def test_a_scheduler_fills_a_tensor_lr_in_place(name: str) -> None:
    model, rate = net(), torch.tensor(0.1, dtype=torch.float64)
    optimizer = getattr(optimizers, name)(model.parameters(), lr=rate)
    train(model, optimizer, 3, lr_scheduler.ExponentialLR(optimizer, 0.5))
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.0125)


@each_class
def test_closure_is_called_with_gradients_and_its_loss_returned(cls: type[RuleOptimizer]) -> None:
    model, twin = net(), net()
    optimizer = cls(model.parameters(), lr=0.01)

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss.item()

    found = [optimizer.step(closure) for _ in range(5)]
    assert found == train(twin, cls(twin.parameters(), lr=0.01), 5)


@each_class
def test_step_hooks_run_before_and_after(cls: type[RuleOptimizer]) -> None:
    model = net()
    optimizer = cls(model.parameters(), lr=0.01)
    seen: list[tuple[str, float]] = []
    weight = model[2].bias

    def note(moment: str) -> None:
        seen.append((moment, weight[0].item()))

    optimizer.register_step_pre_hook(lambda *_: note("before"))
    handle = optimizer.register_step_post_hook(lambda *_: note("after"))
    start = weight[0].item()
    train(model, optimizer, 1)
    handle.remove()
    train(model, optimizer, 1)
    assert [moment for moment, _ in seen] == ["before", "after", "before"]
    assert seen[0][1] == start
    assert seen[1][1] == seen[2][1] != start


@each_class
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_go_on_alike_and_apart(cls: type[RuleOptimizer], how: str) -> None:
    model = net()
    optimizer = cls(model.parameters(), lr=0.01, weight_decay=0.1)
    train(model, optimizer, 5)
    pair = (model, optimizer)
    twins = copy.deepcopy(pair) if how == "deepcopy" else pickle.loads(pickle.dumps(pair))
    assert train(*twins, 10) == train(model, optimizer, 10)


@each_class
def test_state_has_torchs_keys_and_loads_with_weights_only(cls: type[RuleOptimizer]) -> None:
    model = net()
    optimizer = cls(model.parameters(), lr=0.01, maximize=True)
    train(model, optimizer, 3)
    adam = issubclass(cls, Adam)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=True)
    buffers = {"exp_avg", "exp_avg_sq"} if adam else {"momentum_buffer"}
    assert set(loaded["state"][0]) == {"step", *buffers}
    assert loaded["state"][0]["step"] == 3
    keys = {"betas", "eps"} if adam else {"momentum", "dampening", "nesterov"}
    assert set(loaded["param_groups"][0]) == {"params", "lr", "weight_decay", "maximize", *keys}
    fresh = cls(model.parameters(), lr=1.0)
    fresh.load_state_dict(loaded)
    assert fresh.param_groups[0]["lr"] == 0.01
    assert fresh.param_groups[0]["maximize"] is True


@each_class
def test_a_saved_state_is_not_touched_by_later_steps(cls: type[RuleOptimizer]) -> None:
    model = net()
    optimizer = cls(model.parameters(), lr=0.01)
    train(model, optimizer, 2)
    buffer = optimizer.rule.buffers[0]
    saved = optimizer.state_dict()["state"][0][buffer]
    before = saved.clone()
    train(model, optimizer, 2)
    assert torch.equal(saved, before)


@each_class
def test_parameters_without_gradients_wait_with_their_own_step_count(
    cls: type[RuleOptimizer],
) -> None:
    """A late parameter's bias correction starts at its own first gradient."""
    late, alone = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    early = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer, lonely = cls([early, late], lr=0.1), cls([alone], lr=0.1)
    early.grad = torch.ones_like(early)
    optimizer.step()
    assert torch.equal(late, torch.ones(2, dtype=torch.float64))
    assert late not in optimizer.state
    late.grad = alone.grad = torch.full_like(late, 0.5)
    optimizer.step()
    lonely.step()
    assert torch.equal(late, alone)
    assert [optimizer.state[p]["step"] for p in (early, late)] == [2, 1]


@each_class
def test_sparse_gradients_are_refused_before_anything_moves(cls: type[RuleOptimizer]) -> None:
    dense, sparse = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    dense.grad = torch.ones(2)
    sparse.grad = torch.ones(2).to_sparse()
    with pytest.raises(RuntimeError, match=f"{cls.__name__} does not support sparse gradients"):
        cls([dense, sparse], lr=0.1).step()
    assert torch.equal(dense, torch.ones(2))


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (AdamW, {"lr": -0.1}, r"lr = -0\.1 is invalid; it must lie in \[0, inf\)"),
        (AdamW, {"lr": float("nan")}, r"lr = nan is invalid"),
        (AdamW, {"lr": torch.tensor([0.1, 0.2])}, r"lr = tensor.* a tensor must have one element"),
        (Adam, {"betas": (1.0, 0.9)}, r"betas\[0\] = 1\.0 is invalid; it must lie in \[0, 1\)"),
        (Adam, {"betas": (0.9, -0.1)}, r"betas\[1\] = -0\.1 is invalid; it must lie in \[0, 1\)"),
        (Adam, {"eps": -1e-8}, r"eps = -1e-08 is invalid; it must lie in \[0, inf\)"),
        (SGD, {"momentum": -0.5}, r"momentum = -0\.5 is invalid; it must lie in \[0, inf\)"),
        (SGDW, {"weight_decay": -1.0}, r"weight_decay = -1\.0 is invalid"),
        (
            SGD,
            {"nesterov": True},
            r"needs momentum in \(0, inf\) and dampening = 0, got momentum = 0",
        ),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, r"dampening = 0\.1"),
        (SGD, {"nesterov": "yes"}, r"nesterov = 'yes' is invalid; it must be one of False, True"),
    ],
)
def test_invalid_arguments(cls: type[Any], arguments: dict[str, Any], message: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        cls([parameter], **arguments)
    with pytest.raises(ValueError, match=message):
        cls([torch.nn.Parameter(torch.zeros(1))]).add_param_group(
            {"params": parameter, **arguments}
        )


def test_build_optimizer_by_name() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    adamw = build_optimizer("adamw", [parameter], {"beta2": 0.95, "lr": 0.01})
    group = adamw.param_groups[0]
    assert type(adamw) is AdamW
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.9, 0.95), 1e-2)
    sgd = build_optimizer("sgd", [parameter], {"momentum": 0.9}, {"nesterov": True})
    assert (sgd.param_groups[0]["nesterov"], sgd.param_groups[0]["lr"]) == (True, 1e-3)


@pytest.mark.parametrize(
    ("name", "hypers", "switches", "message"),
    [
        ("adamx", {}, {}, "optimizer 'adamx' is unknown; did you mean 'adamw'"),
        (
            "adamw",
            {"momentum": 0.9},
            {},
            "adamw has no hyperparameter 'momentum'. Known: lr, beta1",
        ),
        ("adamw", {"beta1": 1.5}, {}, r"beta1 = 1\.5 is invalid; it must lie in \[0, 1\)"),
        ("adamw", {}, {"nesterov": True}, "adamw has no switch 'nesterov'. Known: none"),
        ("sgd", {}, {"nesterov": 3}, "nesterov = 3 is invalid; it must be one of False, True"),
    ],
)
def test_build_optimizer_refuses(
    name: str, hypers: dict[str, float], switches: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(2))], hypers, switches)


@pytest.mark.parametrize(
    ("name", "decay", "expected", "weight_decay"),
    [
        ("adam", "decoupled", AdamW, 0.0),
        ("adamw", "l2", Adam, 0.01),
        ("sgd", "decoupled", SGDW, 0.0),
        ("sgdw", "l2", SGD, 0.0),
        ("adamw", "decoupled", AdamW, 0.01),
    ],
)
def test_the_switch_decay_picks_the_class_and_keeps_the_named_ones_defaults(
    name: str, decay: str, expected: type, weight_decay: float
) -> None:
    optimizer = build_optimizer(name, [torch.zeros(1)], {}, {"decay": decay})
    assert type(optimizer) is expected
    assert optimizer.defaults["weight_decay"] == weight_decay


def test_an_unknown_decay_is_refused() -> None:
    with pytest.raises(ValueError, match="decay = 'l3' is invalid; it must be one of l2"):
        build_optimizer("adam", [torch.zeros(1)], {}, {"decay": "l3"})
