"""A trial that goes on from its checkpoint file has the unbroken trial's curve, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from serial_training import ListFeed, config, task_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sweeps import Task, checkpoints
from sweeps.config import Config
from sweeps.engines.base import Ending, Objective, Point, State, Trial
from sweeps.engines.serial import SerialEngine

OWNER = checkpoints.Owner("digits", "2026-11-20T12:00:00")
EPOCHS = 5


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Iris, augmented anew at each look: the noise comes from torch's global generator."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x, y

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        x = self._x[place]
        return x + 0.1 * torch.randn(x.shape), self._y[place]


def model() -> nn.Module:
    first = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8))
    return nn.Sequential(first, nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def noisy(loader: bool = False) -> Task:
    """Everything random at once: dropout, augmented examples, a shuffling loader."""
    iris = task_of("iris-mlp")
    data = {name: Noisy(*getattr(iris, name)) for name in ("train", "valid", "test")}
    parts: dict[str, Any] = dict(data)
    if loader:
        parts["train"] = DataLoader(data["train"], 16, shuffle=True, drop_last=True)
    return Task(model=model, loss=F.cross_entropy, **parts)


class Keeper(ListFeed):
    """Stops at an epoch, and writes the state there to a file."""

    def __init__(self, trial: Trial, folder: Path, stop_at: int) -> None:
        super().__init__(trial, stop_at=stop_at)
        self.trial, self.folder = trial, folder

    def report(self, points: Sequence[Point]) -> set[int]:
        (point,) = points
        if point.epoch == self.stop_at:
            assert point.state is not None
            checkpoints.save(self.folder, OWNER, self.trial, 1, point.state())
        return super().report(points)


def run(task: Task, feed: ListFeed, precision: str, metric: str = "valid/loss") -> ListFeed:
    engine = SerialEngine("cpu", precision, Objective(metric, maximize=False))
    engine.run(lambda _: task, feed)
    return feed


def check_resumed(
    make: Callable[[], Task],
    folder: Path,
    wanted: Config,
    *,
    precision: str = "float32",
    seeds: tuple[int, ...] = (7,),
    at: int = 2,
) -> tuple[ListFeed, ListFeed]:
    trial = Trial(3, wanted, seeds)
    unbroken = run(make(), ListFeed(trial), precision)
    assert unbroken.outcomes[0].ending is Ending.TRAINED, unbroken.outcomes[0].traceback
    first = run(make(), Keeper(trial, folder, at), precision)
    start = checkpoints.load(folder, OWNER, trial, at, pytest.fail)
    assert start is not None
    assert (start.epoch, start.seconds) == (at, first.points[-1].seconds)
    second = run(make(), ListFeed(replace(trial, start=start)), precision)
    assert second.outcomes[0].ending is Ending.TRAINED, second.outcomes[0].traceback
    points = [*first.points, *second.points]
    assert [(p.epoch, p.values) for p in points] == [(p.epoch, p.values) for p in unbroken.points]
    assert second.outcomes[0].test == unbroken.outcomes[0].test
    assert second.outcomes[0].epochs == wanted.epochs
    return first, second


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"lr": 0.01, "weight_decay": 0.1},
    "sgd": {"lr": 0.05, "momentum": 0.9},
    "lookahead_adamw": {"lr": 0.01},
    "ranger": {"lr": 0.01},
    "schedule_free_adamw": {"lr": 0.01},
    "schedule_free_sgd": {"lr": 0.5},
    "prodigy": {},
    "yellowfin": {},
    "soap": {"lr": 0.01},
    "muon": {"lr": 0.02},
    "lamb": {"lr": 0.02},
    "adafactor": {"lr": 0.01},
    "ademamix": {"lr": 0.01},
    "rprop": {"lr": 0.01},
    "asgd": {"lr": 0.05},
    "lbfgs": {"lr": 0.1},
    "torch.optim.NAdam": {"lr": 0.01},
    "pytorch_optimizer.Adan": {"lr": 0.01},
    "pytorch_optimizer.Prodigy": {"lr": 1.0},
    "schedulefree.AdamWScheduleFree": {"lr": 0.01},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on(name: str, tmp_path: Path) -> None:
    chosen = config(optimizer=name, hypers=OPTIMIZERS[name], epochs=EPOCHS, schedule="cosine")
    check_resumed(noisy, tmp_path, chosen)


SCHEDULES: dict[str, dict[str, float]] = {
    "plateau": {"patience": 0, "factor": 0.5, "threshold": 0.1},
    "adaptive": {},
    "one_cycle": {},
    "cyclic": {},
    "wsd": {},
    "cosine_warm_restarts": {},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_kind_of_schedule_goes_on(name: str, tmp_path: Path) -> None:
    hypers = {"lr": 0.3, "momentum": 0.5}
    chosen = config(optimizer="sgd", hypers=hypers, epochs=EPOCHS, schedule=name)
    own = {"schedule_hypers": SCHEDULES[name]}
    check_resumed(noisy, tmp_path, replace(chosen, **own))


@pytest.mark.parametrize("at", [1, 3, 4])
@pytest.mark.parametrize(
    ("average", "hypers"),
    [
        # updates 12 and 21 of 25: epoch 4 takes none, and BatchNorm's statistics stay those of 3
        ("swa", {"start": 0.5, "swa_lr": 0.3, "anneal": 0.1, "frequency": 9}),
        ("ema", {"decay": 0.9, "start": 0.0}),
        ("ema_warmup", {"decay": 0.99, "start": 0.0}),
    ],
)
def test_averages_go_on(average: str, hypers: dict[str, float], at: int, tmp_path: Path) -> None:
    chosen = config(epochs=EPOCHS, average=average, average_hypers=hypers, schedule="cosine")
    check_resumed(noisy, tmp_path, chosen, at=at)


@pytest.mark.parametrize("precision", ["float64", "bf16"])
@pytest.mark.parametrize("loader", [False, True])
def test_repeats_precisions_and_loaders_go_on(precision: str, loader: bool, tmp_path: Path) -> None:
    chosen = config(epochs=EPOCHS, average="ema", average_hypers={"decay": 0.9, "start": 0.0})
    first, second = check_resumed(
        lambda: noisy(loader), tmp_path, chosen, precision=precision, seeds=(1, 2), at=3
    )
    assert len(first.points) == 3
    assert len(second.points) == 2


def test_seconds_add_up_and_the_header_is_json(tmp_path: Path) -> None:
    first, second = check_resumed(noisy, tmp_path, config(epochs=EPOCHS))
    before, after = first.points[-1], second.points[0]
    assert before.seconds < after.seconds < second.outcomes[0].seconds
    assert second.outcomes[0].device_seconds > first.outcomes[0].device_seconds * 0.9
    assert second.outcomes[0].device_seconds >= second.outcomes[0].seconds
    assert second.outcomes[0].peak_memory is None
    with safe_open(tmp_path / "3-1.safetensors", "pt") as file:
        header = file.metadata()
        names = list(file.keys())
    assert json.loads(header["trial"])["seeds"] == [7]
    assert "replicas/0/model/state/4.weight" in names
    assert "replicas/0/optimizer/state/0/exp_avg" in names


def test_the_last_epoch_and_a_divergence_offer_no_state() -> None:
    task = task_of("iris-mlp")
    fine = run(task, ListFeed(Trial(0, config(epochs=2), (0,))), "float32")
    assert [point.state is None for point in fine.points] == [False, True]
    wild = config(optimizer="sgd", hypers={"lr": 1e30}, epochs=3)
    gone = run(task, ListFeed(Trial(0, wild, (0,))), "float32")
    assert gone.outcomes[0].ending is Ending.DIVERGED
    assert [point.state for point in gone.points] == [None]


def test_a_checkpoint_of_another_model_fails_the_trial_in_words() -> None:
    trial = Trial(0, config(epochs=3), (1,))
    taken: list[State] = []

    class Taking(ListFeed):
        def report(self, points: Sequence[Point]) -> set[int]:
            taken.extend(point.state() for point in points if point.state and point.epoch == 1)
            return super().report(points)

    run(task_of("iris-mlp"), Taking(trial), "float32")
    (outcome,) = run(noisy(), ListFeed(replace(trial, start=taken[0])), "float32").outcomes
    assert (outcome.ending, outcome.epochs) == (Ending.FAILED, 1)
    assert "checkpoint of epoch 1 does not fit its task any more: RuntimeError" in outcome.error
