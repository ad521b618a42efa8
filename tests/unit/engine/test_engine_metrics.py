"""What the engine makes of losses and metrics: feedback, divergence, odd types."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from serial_training import ListFeed, config, task_of, train
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

from sweeps import Task
from sweeps.engines.base import Ending, Objective, Trial
from sweeps.engines.serial import SerialEngine

ONES = torch.ones(4, 1)


def rates_of(objective: Objective, metric: float, epochs: int) -> list[float]:
    """The rate of each epoch of a training whose metric never changes (its gradient is 1)."""
    weights = []

    class Watcher(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                weights.append(self.weight.item())
            return super().forward(x)

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output.mean() - output.mean().detach() + metric * target.mean()

    task = Task(
        model=lambda: Watcher(1, 1, bias=False),
        train=(ONES, ONES),
        valid=(ONES, ONES),
        loss=loss,
        metrics={"score": lambda _output, target: metric * target.mean()},
    )
    chosen = config(
        optimizer="sgd",
        hypers={"lr": 1.0},
        schedule="plateau",
        schedule_hypers={"factor": 0.1, "patience": 2},
        epochs=epochs,
        batch_size=4,
    )
    feed = ListFeed(Trial(0, chosen, (0,)))
    SerialEngine("cpu", "float32", objective).run(lambda _: task, feed)
    return [round(a - b, 4) for a, b in itertools.pairwise(weights)]


@pytest.mark.parametrize(
    ("objective", "metric"),
    [
        (Objective("valid/loss", maximize=False), 1.0),
        (Objective("valid/loss", maximize=False), 0.0),
        (Objective("valid/score", maximize=True), 0.9),
    ],
)
def test_plateau_lowers_the_rate_when_the_metric_stalls(
    objective: Objective, metric: float
) -> None:
    """Epoch 1 sets the best; 2, 3 and 4 are bad, which is more than the patience of 2."""
    assert rates_of(objective, metric, 6) == [1.0, 1.0, 1.0, 1.0, 0.1]


def diverging(loss: Any = F.mse_loss, **metrics: Any) -> ListFeed:
    task = Task(
        model=lambda: nn.Linear(1, 1),
        train=(ONES, ONES),
        valid=(ONES, ONES),
        loss=loss,
        metrics=metrics,
    )
    return train(task, Trial(0, config(epochs=2, batch_size=2), (0,)))


def test_a_metric_that_is_not_the_objective_may_be_nan() -> None:
    feed = diverging(recall=lambda _output, target: target.mean() * math.nan)
    assert feed.outcomes[0].ending is Ending.TRAINED
    assert [point.diverged for point in feed.points] == [False, False]
    assert math.isnan(feed.points[0].values["valid/recall"])


def test_an_objective_that_is_nan_diverges_at_the_epochs_last_step() -> None:
    task = Task(
        model=lambda: nn.Linear(1, 1),
        train=(ONES, ONES),
        valid=(ONES, ONES),
        loss=F.mse_loss,
        metrics={"recall": lambda _output, target: target.mean() * math.nan},
    )
    feed = ListFeed(Trial(0, config(epochs=2, batch_size=2), (0,)))
    SerialEngine("cpu", "float32", Objective("valid/recall", maximize=True)).run(
        lambda _: task, feed
    )
    assert feed.outcomes[0].ending is Ending.DIVERGED
    assert feed.outcomes[0].step == 2
    assert feed.points[0].diverged


def test_a_loss_that_is_nan_from_the_start_diverges_at_step_one() -> None:
    feed = diverging(loss=lambda output, _target: output.sum() * math.nan)
    assert (feed.outcomes[0].ending, feed.outcomes[0].step) == (Ending.DIVERGED, 1)


def test_metrics_in_bf16_add_up_over_many_batches() -> None:
    x = torch.ones(1200, 1)
    task = Task(
        model=lambda: nn.Linear(1, 1),
        train=(x, x),
        valid=(x, x),
        loss=F.mse_loss,
        metrics={"one": lambda output, _target: (output == output).to(output.dtype).mean()},
    )
    feed = train(task, Trial(0, config(epochs=1, batch_size=1), (0,)), precision="bf16")
    assert feed.curve("train/one") == [1.0]


def test_a_metric_may_be_a_plain_number_and_an_output_a_tuple() -> None:
    class Two(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x), x

    task = Task(
        model=lambda: Two(1, 1),
        train=(ONES, ONES),
        valid=(ONES, ONES),
        test=(ONES, ONES),
        loss=lambda output, target: F.mse_loss(output[0], target),
        metrics={"half": lambda _output, _target: 0.5},  # type: ignore[dict-item, return-value]
    )
    outcome = train(task, Trial(0, config(epochs=1, batch_size=2), (0,))).outcomes[0]
    assert outcome.ending is Ending.TRAINED
    assert outcome.test["test/half"] == 0.5


class Noisy(Dataset[tuple[torch.Tensor, ...]]):
    """Augments with NumPy, as many datasets do."""

    def __init__(self) -> None:
        self.x, self.y = task_of("iris-mlp").train

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return self.x[index] + float(np.random.normal(0, 0.1)), self.y[index]


@pytest.mark.parametrize("kind", ["dataset", "loader", "own generator"])
def test_a_curve_does_not_depend_on_what_ran_before(kind: str) -> None:
    def source() -> Any:
        data = Noisy()
        if kind == "dataset":
            return data
        if kind == "loader":
            return DataLoader(data, 16, shuffle=True)
        sampler = RandomSampler(data, generator=torch.Generator().manual_seed(4))
        return DataLoader(TensorDataset(*task_of("iris-mlp").train), 16, sampler=sampler)

    valid = task_of("iris-mlp").valid
    task = Task(model=lambda: nn.Linear(4, 3), train=source(), valid=valid, loss=F.cross_entropy)
    alone = train(task, Trial(1, config(), (5,))).curve("train/loss", 1)
    after = train(task, Trial(0, config(), (4,)), Trial(1, config(), (5,)))
    assert after.curve("train/loss", 1) == alone


def test_the_first_trials_seconds_are_its_own() -> None:
    """torch imports its compiler with the first optimizer; that is not part of a trial."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, 'tests/unit/engine')\n"
        "from serial_training import config, task_of, train\n"
        "from sweeps.engines.base import Trial\n"
        "feed = train(task_of('iris-mlp'), *(Trial(n, config(), (n,)) for n in range(2)))\n"
        "print(feed.outcomes[0].seconds / feed.outcomes[1].seconds)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60  # with the import in it, about 180
