"""The drop-ins as torch optimizers, beside torch's: groups, schedulers, closures, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from programs import both, each_class, each_in_torch, loss_of, net, noise, train, weights
from torch.optim import Optimizer, lr_scheduler

from optimizers import AdamW
from optimizers.drop_in import RuleOptimizer

OWN: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.8, "nesterov": True},
    "Adagrad": {"lr_decay": 0.01},
    "Adadelta": {"rho": 0.8},
    "RMSprop": {"alpha": 0.9, "centered": True},
    "Rprop": {"etas": (0.4, 1.3)},
    "ASGD": {"lambd": 0.01},
    "Adafactor": {"d": 2.0},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
}


@each_in_torch
@pytest.mark.usefixtures("double_by_default")
def test_param_groups_with_their_own_hyperparameters(name: str) -> None:
    own = OWN.get(name, {"betas": (0.7, 0.9)})
    other = {} if name == "Rprop" else {"weight_decay": 0.2}

    def run(cls: Any) -> list[float]:
        model = net()
        groups = [
            {"params": model[0].parameters(), "lr": 0.05, **own},
            {"params": [model[2].weight], **other},
        ]
        optimizer = cls(groups, lr=0.01)
        losses = train(model, optimizer, 20)
        optimizer.add_param_group({"params": [model[2].bias], "lr": 0.1, "maximize": False})
        return losses + train(model, optimizer, 20)

    both(name, run)


@each_class
def test_a_groups_numbers_may_change_in_mid_training(cls: type[RuleOptimizer]) -> None:
    """A group added later and one there from the start go on alike once their state is alike."""
    first, second = weights(torch.ones(3, 2), torch.ones(3, 2))
    optimizer = cls([first], lr=0.05)
    optimizer.add_param_group({"params": [second], "lr": 0.5, "weight_decay": 0.3})
    optimizer.param_groups[1].update(lr=0.05)
    optimizer.param_groups[1]["weight_decay"] = optimizer.param_groups[0]["weight_decay"]
    for step in range(3):
        first.grad = second.grad = noise(first, step)
        optimizer.step()
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.ones(3, 2))


@each_in_torch
@pytest.mark.usefixtures("double_by_default")
def test_parameters_by_name(name: str) -> None:
    both(name, lambda cls: train(model := net(), cls(model.named_parameters(), lr=0.02), 20))


def cycles(optimizer: Optimizer) -> bool:
    return bool({"momentum", "betas"} & set(optimizer.defaults))


@each_in_torch
@pytest.mark.parametrize(
    "build",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=61, cycle_momentum=cycles(o)),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.05, 7, cycle_momentum=cycles(o)),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.95**t),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o), lr_scheduler.StepLR(o, 9)], milestones=[10]
        ),
    ],
    ids=["cosine", "one_cycle", "cyclic", "lambda", "sequential"],
)
@pytest.mark.usefixtures("double_by_default")
def test_torchs_schedulers_drive_it(name: str, build: Callable[[Optimizer], Any]) -> None:
    chosen = {"momentum": 0.9} if name == "SGD" else {}

    def run(cls: Any) -> list[float]:
        model = net()
        optimizer = cls(model.parameters(), lr=0.02, **chosen)
        return train(model, optimizer, 60, build(optimizer))

    both(name, run)


@each_class
def test_a_scheduler_fills_a_tensor_lr_in_place(cls: type[RuleOptimizer]) -> None:
    rate, model, twin = torch.tensor(0.1, dtype=torch.float64), net(), net()
    optimizer = cls(model.parameters(), lr=rate)
    plain = cls(twin.parameters(), lr=0.1)
    losses = train(model, optimizer, 5, lr_scheduler.ExponentialLR(optimizer, 0.5))
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.1 / 32)
    assert losses == train(twin, plain, 5, lr_scheduler.ExponentialLR(plain, 0.5))


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
    seen: list[tuple[str, list[float]]] = []

    def note(moment: str) -> None:
        seen.append((moment, model[2].weight.flatten().tolist()))

    optimizer.register_step_pre_hook(lambda *_: note("before"))
    handle = optimizer.register_step_post_hook(lambda *_: note("after"))
    start = model[2].weight.flatten().tolist()
    train(model, optimizer, 8)
    handle.remove()
    train(model, optimizer, 1)
    assert [moment for moment, _ in seen] == ["before", "after"] * 8 + ["before"]
    assert seen[0][1] == start
    assert seen[-2][1] == seen[-1][1] != start


@each_class
def test_maximizing_is_minimizing_the_negative(cls: type[RuleOptimizer]) -> None:
    up, down = weights(torch.ones(3, 2)), weights(torch.ones(3, 2))
    climbing, descending = cls(up, lr=0.05, maximize=True), cls(down, lr=0.05)
    for step in range(8):
        up[0].grad = noise(up[0], step)
        down[0].grad = -noise(up[0], step)
        climbing.step()
        descending.step()
    assert torch.equal(up[0], down[0])


@each_class
def test_parameters_without_gradients_wait_with_their_own_step_count(
    cls: type[RuleOptimizer],
) -> None:
    """A late parameter's corrections start at its own first gradient, a frozen one never moves."""
    if cls.rule.measures:
        pytest.skip("a rule that measures a group counts the group's steps")
    early, late, frozen, alone = weights(*[torch.ones(2, dtype=torch.float64)] * 4)
    frozen.requires_grad_(False)
    optimizer, lonely = cls([early, late, frozen], lr=0.1), cls([alone], lr=0.1)
    early.grad = torch.ones_like(early)
    optimizer.step()
    assert torch.equal(late, torch.ones(2, dtype=torch.float64))
    assert late not in optimizer.state
    for _ in range(8):
        late.grad = alone.grad = torch.full_like(late, 0.5)
        optimizer.step()
        lonely.step()
    assert torch.equal(late, alone)
    assert torch.equal(frozen, torch.ones(2, dtype=torch.float64))
    assert [optimizer.state[p]["step"] for p in (early, late)] == [9, 8]
    assert frozen not in optimizer.state


@each_class
def test_sparse_gradients_are_refused_before_anything_moves(cls: type[RuleOptimizer]) -> None:
    dense, sparse = weights(torch.ones(2, 2), torch.ones(2, 2))
    dense.grad = torch.ones(2, 2)
    sparse.grad = torch.ones(2, 2).to_sparse()
    with pytest.raises(RuntimeError, match=f"{cls.__name__} does not support sparse gradients"):
        cls([dense, sparse], lr=0.1).step()
    assert torch.equal(dense, torch.ones(2, 2))


@each_class
def test_a_grad_scaler_changes_nothing_and_skips_what_overflows(cls: type[RuleOptimizer]) -> None:
    model, twin = net(torch.float32), net(torch.float32)
    optimizer, plain = cls(model.parameters(), lr=0.01), cls(twin.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(8):
        optimizer.zero_grad()
        scaler.scale(loss_of(model)).backward()
        if step == 5:
            model[0].weight.grad[0, 0] = torch.inf
        else:
            train(twin, plain, 1)
        scaler.step(optimizer)
        scaler.update()
        assert all(map(torch.equal, model.parameters(), twin.parameters())), step
    assert scaler.get_scale() == 512.0


def test_a_compiled_model_trains_alike() -> None:
    model, twin = net(), net()
    compiled = torch.compile(model, backend="aot_eager")
    losses = train(compiled, AdamW(compiled.parameters(), lr=0.01), 10)
    assert losses == pytest.approx(train(twin, AdamW(twin.parameters(), lr=0.01), 10), rel=1e-12)
