"""What the end-to-end tests of `sweeps run` share: a small sweep, and how its results are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SWEEP = """
name: small
task: iris-mlp
optimizer: [adamw, sgd]
schedule: [cosine, plateau]
metric: {name: valid/accuracy, goal: maximize}
epochs: 6
run_cap: 12
seed: 3
lanes: 1
workers: 1
"""

SLOW_TASK = """
import time
import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from torch import nn
from sweeps import Task


class Slow(nn.Linear):
    def forward(self, x):
        if self.training:
            time.sleep(0.002)
        return super().forward(x)


def make():
    x, y = (torch.from_numpy(array) for array in load_iris(return_X_y=True))
    x = x.float()
    return Task(model=lambda: Slow(4, 3), train=(x, y), valid=(x, y), loss=F.cross_entropy)
"""


def write(folder: Path, text: str = SWEEP, name: str = "sweep.yaml") -> None:
    (folder / name).write_text(text)
    (folder / "slow.py").write_text(SLOW_TASK)


def exported(sweeps: Callable[..., Any], study: str = "small") -> list[dict[str, Any]]:
    done = sweeps("export", study)
    assert done.code == 0, done.err
    trials: list[dict[str, Any]] = json.loads(done.out)["trials"]
    return trials


def comparable(trial: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the clock or on who trained it."""
    own = ("seconds", "device_seconds", "attempts")
    return {key: value for key, value in trial.items() if key not in own}
