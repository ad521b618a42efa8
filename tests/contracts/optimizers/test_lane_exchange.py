"""A trial may move between a drop-in and a lane: every rule goes on as if it had not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from optimizers import RULES, LaneOptimizer, build_optimizer
from optimizers.drop_in import RuleOptimizer
from optimizers.lane_exchange import state_from_drop_in, state_to_drop_in

X = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def drop_in(name: str, model: nn.Module) -> RuleOptimizer:
    optimizer = build_optimizer(name, model.parameters(), {"lr": rate(name)})
    assert isinstance(optimizer, RuleOptimizer)
    return optimizer


def rate(name: str) -> float:
    return min(RULES[name].hypers["lr"].default, 0.01)


def train(model: nn.Module, optimizer: RuleOptimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def gradients(lanes: LaneOptimizer) -> Tensor:
    found = []
    for lane in range(lanes.flat.shape[0]):
        model = weights(lanes, lane)
        nn.functional.mse_loss(model(X), Y).backward()
        found.append(
            torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None])
        )
    return torch.stack(found)


def weights(lanes: LaneOptimizer, lane: int) -> nn.Module:
    model = net(0)
    with torch.no_grad():
        for p, rows in zip(model.parameters(), lanes.params, strict=True):
            p.copy_(rows[lane])
    return model


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("name", RULES)
def test_from_a_drop_in_to_a_lane_and_back(name: str, before: int) -> None:
    """Lane 1 of 2 takes the trial on after `before` steps, for two; a drop-in makes the last."""
    unbroken, moved = net(1), net(1)
    train(unbroken, drop_in(name, unbroken), before + 3)
    optimizer = drop_in(name, moved)
    train(moved, optimizer, before)
    shapes = [tuple(p.shape) for p in moved.parameters()]
    lr = torch.full((2,), rate(name), dtype=torch.float64)
    lanes = LaneOptimizer(RULES[name], torch.stack([flat(net(2)), flat(moved)]), shapes, {"lr": lr})
    state_from_drop_in(lanes, 1, optimizer, list(moved.parameters()))
    for _ in range(2):
        lanes.step(gradients(lanes))
    last = weights(lanes, 1)
    optimizer = drop_in(name, last)
    state_to_drop_in(lanes, 1, optimizer, list(last.parameters()))
    train(last, optimizer, 1)
    torch.testing.assert_close(flat(last), flat(unbroken), rtol=1e-11, atol=1e-13)
