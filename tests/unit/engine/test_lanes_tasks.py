"""The built-in tasks in lanes: each is stacked, and has the serial engine's curves."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from built_in import make_task, small_task
from lane_training import assert_equal, in_lanes, mixed, serially
from serial_training import ListFeed
from torch import nn

from sweeps.engines.lanes.fusing import Fusing, try_fusing
from sweeps.tasks import TASKS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TASKS)
def test_every_built_in_task_is_stacked(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    task = make_task(name, tmp_path)
    *inputs, target = (x[:8].to(dtype) if x.is_floating_point() else x[:8] for x in task.train)
    batch = (tuple(inputs), target)
    found = try_fusing(lambda: task.model().to(dtype), batch, task.loss, nullcontext)
    assert found == Fusing(frozenset(), reason="")


def in_bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("name", TASKS)
def test_every_built_in_task_is_stacked_in_bfloat16(name: str, tmp_path: Path) -> None:
    """However far rounding takes its gradients."""
    task = make_task(name, tmp_path)
    *inputs, target = (x[:8] for x in task.train)
    found = try_fusing(task.model, (tuple(inputs), target), task.loss, in_bfloat16)
    assert found == Fusing(frozenset(), reason="")


def test_a_model_that_runs_in_bfloat16_only_trains_one_by_one() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), Halved(), nn.Linear(4, 3))

    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    found = try_fusing(model, ((x,), y), F.cross_entropy, in_bfloat16)
    assert found.reason.startswith("autocast: RuntimeError: mat1 and mat2")


class Halved(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.bfloat16()


@pytest.mark.parametrize("name", ["char-lm", "char-lstm", "cifar10", "mnist"])
def test_the_curves_are_those_of_one_by_one(name: str, tmp_path: Path) -> None:
    task = small_task(name, tmp_path, 48)
    trials = mixed(3 if name == "cifar10" else 5, batch_size=16)
    lanes, serial = ListFeed(*trials), ListFeed(*trials)
    assert in_lanes(task, lanes, 3) == []
    assert_equal(lanes, serially(task, serial))
