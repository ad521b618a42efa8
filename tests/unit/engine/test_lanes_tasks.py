"""The built-in tasks in lanes: each is stacked, and has the serial engine's curves."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from built_in import make_task
from lanes_training import assert_equal, in_lanes, mixed, serially
from serial_training import ListFeed

from sweeps import Task
from sweeps.engines.lanes.fusing import Fusing, try_fusing
from sweeps.tasks import TASKS

SMALL: dict[str, dict[str, Any]] = {
    "char-lm": {"heads": 2, "head_width": 4, "context": 16},
    "char-lstm": {"hidden": 8, "embedding": 4, "context": 8},
    "cifar10": {"width": 2},
    "mnist": {"channels": 2},
}


def cut(task: Task, count: int) -> Task:
    """The same task on its first examples."""
    parts = {name: getattr(task, name) for name in ("train", "valid", "test")}
    return replace(task, **{name: tuple(x[:count] for x in part) for name, part in parts.items()})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TASKS)
def test_every_built_in_task_is_stacked(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    task = make_task(name, tmp_path)
    *inputs, target = (x[:8].to(dtype) if x.is_floating_point() else x[:8] for x in task.train)
    batch = (tuple(inputs), target)
    found = try_fusing(lambda: task.model().to(dtype), batch, task.loss, nullcontext)
    assert found == Fusing(frozenset(), reason="")


@pytest.mark.parametrize("name", SMALL)
def test_the_curves_are_those_of_one_by_one(name: str, tmp_path: Path) -> None:
    task = cut(make_task(name, tmp_path, **SMALL[name]), 48)
    trials = mixed(3 if name == "cifar10" else 5, batch_size=16)
    lanes, serial = ListFeed(*trials), ListFeed(*trials)
    assert in_lanes(task, lanes, 3) == []
    assert_equal(lanes, serially(task, serial))
