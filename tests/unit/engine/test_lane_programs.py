"""Traced and compiled steps, and how many lanes there are: nothing of it shows in the curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from lane_training import assert_equal, in_lanes, mixed, serially
from serial_training import ListFeed, config, task_of
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from sweeps.engines.base import Trial
from sweeps.engines.lanes.ladder import ALONE, Ladder, asked_for, knee, measured
from sweeps.engines.lanes.rewriting import turn_products

ATEN = torch.ops.aten


def elementwise(count: int) -> list[Trial]:
    """Trials whose algorithms a program updates itself."""
    algorithms = [("adamw", {"lr": 0.003}), ("sgd", {"lr": 0.05, "momentum": 0.9})]
    schedules = ["one_cycle", "cosine"]
    return [
        Trial(n, config(optimizer=name, hypers=hypers, schedule=schedules[n // 2 % 2]), (n,))
        for n, (name, hypers) in enumerate(algorithms[n % 2] for n in range(count))
    ]


def test_compiled_steps_give_the_curves_of_one_by_one() -> None:
    task, trials = task_of("iris-mlp"), elementwise(9)  # two fillings and one alone
    lanes = ListFeed(*trials)
    assert in_lanes(task, lanes, 4, compiling=True) == []
    assert_equal(lanes, serially(task, ListFeed(*trials)))


class Held(nn.Module):
    """Has a tensor that is neither a parameter nor a buffer, and reads it through a view."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.arange(4.0) / 2
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x * self.scale.view(1, 4).sigmoid())


class Sliced(nn.Module):
    """Reads a part of a transposed product [16, 16], and the whole later."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)
        self.weight = nn.Parameter(torch.randn(16, 16) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        part = (hidden @ self.weight).t()[:8]
        return self.last(torch.cat([part.t(), hidden.tanh()[:, 8:]], 1))


class Gated(nn.Module):
    """Reads a part of a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value, self.last = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.gate(x).log_softmax(-1)[:, :3]
        return self.last(gate * self.value(x).tanh()[:, 3:])


@pytest.mark.parametrize("model", [Held, Sliced, Gated])
def test_memory_that_something_else_reads_is_left_alone(model: type[nn.Module]) -> None:
    task = replace(task_of("iris-mlp"), model=model)
    trials = [replace(trial, config=config(batch_size=16)) for trial in elementwise(4)]
    lanes = ListFeed(*trials)
    assert in_lanes(task, lanes, 4) == []
    assert_equal(lanes, serially(task, ListFeed(*trials)))


def test_a_step_that_depends_on_numbers_is_not_traced_and_trains() -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        value = nn.functional.cross_entropy(output, target)
        return value * torch.as_tensor(len(torch.nonzero(torch.ones(2))), dtype=value.dtype)

    task = task_of("iris-mlp")
    odd = replace(task, loss=loss)
    lanes = ListFeed(*elementwise(5))
    said = in_lanes(odd, lanes, 4)
    assert len(said) == 1
    assert said[0].startswith("steps are not traced: ")
    assert_equal(lanes, serially(odd, ListFeed(*elementwise(5))))


class Watched(ListFeed):
    """Counts how many trials train at once."""

    given = most = 0

    def take(self, n: int) -> list[Trial]:
        taken = super().take(n)
        self.given += len(taken)
        self.most = max(self.most, self.given - len(self.outcomes))
        return taken


def test_what_was_found_out_about_lanes_is_noted_and_used() -> None:
    task, notes = task_of("iris-mlp"), dict[str, Any]()
    in_lanes(task, Watched(*mixed(12)), None, notes=notes)
    ((key, found),) = notes.items()
    assert len(key) == 64
    assert found["alone"] > 0
    notes[key] = Ladder({2: 1.0, 4: 1.5, 8: 2.0}, alone=1.0).as_json()
    feed = Watched(*mixed(16))
    in_lanes(task, feed, None, notes=notes)
    assert feed.most == 8
    notes[key] = Ladder({}, alone=1.0).as_json()
    alone = Watched(*mixed(5))
    in_lanes(task, alone, None, notes=notes)
    assert alone.most == 1


def test_a_ladder_has_lanes_for_as_many_models_as_there_are() -> None:
    ladder = measured(alone=1.0, called={2: 3.0, 4: 3.5, 8: 4.0, 16: 6.0, 32: 14.0}, traced=4.5)
    # A traced step takes 0.75 of one by calls, so 2 lanes cost 2.25 and 4 cost 2.6.
    assert ladder.most == 16
    assert [ladder.lanes_for(n) for n in (2, 3, 8, 9, 17, 90)] == [ALONE, 4, 8, 16, 16, 16]
    assert ladder.up_to(10).seconds[10] == pytest.approx(3.0 + 1.5 * 2 / 8)
    assert ladder.saved(16, 8, models=7) == pytest.approx(1 - 3.0 / 4.5)
    assert ladder.saved(8, ALONE, models=2) == pytest.approx(1 - 2.0 / 3.0)
    assert ladder.saved(9, 8, models=7) == 1  # never timed
    assert ladder.up_to(1).most == 1
    assert measured(alone=1.0, called={2: 3.0, 4: 6.0}, traced=6.0).most == 1


def test_a_ladder_that_is_asked_for_goes_down_by_halves() -> None:
    assert [asked_for(48).lanes_for(n) for n in (1, 2, 3, 9, 17, 33, 48)] == [
        ALONE,
        2,
        4,
        16,
        32,
        48,
        48,
    ]
    assert asked_for(1).most == 1


def test_the_knee_is_the_least_number_that_does_nearly_the_most() -> None:
    assert knee({2: 2.0, 4: 2.2, 8: 4.0, 16: 7.9}) == 8
    assert knee({2: 2.0, 4: 4.2}) == 2


def test_products_are_made_in_the_order_that_is_wanted() -> None:
    x, y = torch.randn(3, 5, 4), torch.randn(3, 5, 2)

    def gradient(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.bmm(x.transpose(1, 2), y).transpose(1, 2).reshape(3, -1) * 2

    traced = make_fx(gradient, tracing_mode="fake")(x, y)
    turn_products(traced.graph)
    traced.recompile()
    assert torch.allclose(traced(x, y), gradient(x, y))
    (product,) = [node for node in traced.graph.nodes if node.target is ATEN.bmm.default]
    assert tuple(product.meta["val"].shape) == (3, 2, 4)
