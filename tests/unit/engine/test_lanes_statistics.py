"""What lanes have in common with one by one where bits cannot be: dropout, and float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from built_in import small_task
from lane_training import in_lanes, serially
from serial_training import ListFeed, config
from torch import Tensor, nn

from sweeps import Task
from sweeps.engines.base import Trial
from sweeps.tasks import TASKS


def regression(dropout: float) -> Task:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=g)
    y = x[:, :1] - x[:, 1:2] * x[:, 2:3]

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 1))

    return Task(model=model, train=(x, y), valid=(x, y), loss=F.mse_loss)


def last(feed: ListFeed) -> dict[str, Tensor]:
    """Return each curve's last value of all trials, in the order of their numbers."""
    found = {p.number: p.values for p in feed.points}
    rows = [found[number] for number in sorted(found)]
    return {
        name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]
    }


def test_dropout_has_the_mean_that_it_has_alone() -> None:
    """The mean difference to the same seeds alone is within 4 standard errors of nothing.

    Weights and batches are the same, so that masks are all that differs: by chance a right engine
    would be outside with p = 6e-5 (the seeds are fixed). One without dropout is far outside.
    """
    chosen = config(optimizer="sgd", hypers={"lr": 0.05}, epochs=2)
    trials = [Trial(n, chosen, (n,)) for n in range(64)]
    lanes, without = ListFeed(*trials), ListFeed(*trials)
    assert in_lanes(regression(0.5), lanes, 32) == []
    in_lanes(regression(0.0), without, 32)
    alone = last(serially(regression(0.5), ListFeed(*trials)))
    for name, values in last(lanes).items():
        assert abs(distance(values, alone[name])) < 4
        assert abs(distance(values, last(without)[name])) > 5


def distance(values: Tensor, others: Tensor) -> float:
    """Return the mean difference in standard errors."""
    differences = values - others
    return float(differences.mean() / (differences.std() / len(differences) ** 0.5))


def test_each_lane_and_each_epoch_has_masks_of_its_own() -> None:
    """Of equal trials that learn nothing, no two epochs have the same training loss."""
    chosen = config(optimizer="sgd", hypers={"lr": 0.0}, epochs=3)
    lanes = ListFeed(*[Trial(n, chosen, (5,)) for n in range(3)])
    in_lanes(regression(0.5), lanes, 3)
    assert len({point.values["valid/loss"] for point in lanes.points}) == 1
    assert len({point.values["train/loss"] for point in lanes.points}) == 3 * 3


@pytest.mark.parametrize("name", TASKS)
def test_float32_differs_by_rounding_after_five_epochs(name: str, tmp_path: Path) -> None:
    """The median relative difference of the losses is at most 1e-5."""
    task = small_task(name, tmp_path, 256)
    algorithms = ["adamw", "sgd", "schedule_free_adamw", "prodigy"]
    trials = [
        Trial(
            n,
            config(
                optimizer=each,
                hypers={} if each == "prodigy" else {"lr": 0.003},
                schedule=["cosine", "constant", "plateau"][n % 3],
                average=["none", "ema"][n % 2],
                epochs=5,
                batch_size=min(128, len(task.train[0]) // 4),
            ),
            (n,),
        )
        for n, each in enumerate(algorithms)
    ]
    lanes = ListFeed(*trials)
    assert in_lanes(task, lanes, 4, "float32") == []
    wanted = last(serially(task, ListFeed(*trials), "float32"))
    found = last(lanes)
    differences = [
        (found[split] - wanted[split]).abs() / wanted[split].abs()
        for split in ("train/loss", "valid/loss")
    ]
    assert float(torch.cat(differences).median()) <= 1e-5
