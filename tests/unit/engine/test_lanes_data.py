"""Datasets and loaders in both engines: read once where that fits, the same curves either way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lane_training import assert_equal, in_lanes, mixed, serially
from serial_training import ListFeed, config, task_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from sweeps import Task
from sweeps.engines.base import Objective, Trial
from sweeps.engines.serial import SerialEngine
from sweeps.tasks import opening


class Noisy(Dataset[Any]):
    """Flowers with other noise at every reading."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        return 90

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        x, y = self.data[place]
        return x + 0.1 * torch.randn(4, dtype=torch.float64).to(x.dtype), y


class Stream(IterableDataset[Any]):
    """Flowers in the order of the file, mixed a little by random numbers."""

    def __len__(self) -> int:
        return 90

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        flowers = list(zip(*task_of("iris-mlp").train, strict=True))
        while flowers:
            yield flowers.pop(random.randrange(min(20, len(flowers))))


def source(kind: str) -> Any:
    if kind == "stream":
        return DataLoader(Stream(), 32, drop_last=True)
    data: Dataset[Any] = TensorDataset(*task_of("iris-mlp").train)
    data = Noisy(data) if kind.startswith("random") else data
    if kind.endswith("dataset"):
        return data
    if kind == "own sampler":
        return DataLoader(data, 32, sampler=RandomSampler(data, generator=torch.Generator()))
    return DataLoader(data, 32, shuffle=True, drop_last=kind != "with a rest")


def task(kind: str, dropout: float = 0.0) -> Task:
    """Iris with BatchNorm, whose statistics under an average are means over the batches."""

    def model() -> nn.Module:
        first = (nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
        return nn.Sequential(*first, nn.Dropout(dropout), nn.Linear(8, 3))

    iris = task_of("iris-mlp")
    valid: Any = iris.valid
    if kind == "loader":
        valid = DataLoader(TensorDataset(*iris.valid), 7)
    return Task(model=model, train=source(kind), valid=valid, loss=F.cross_entropy)


ONCE = "train is read once into memory: 90 examples, 3.6 kB"
ANEW = "train is read anew in every epoch: its examples are random"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("dataset", ONCE),
        ("loader", ONCE + "; valid is read once into memory: 30 examples, 1.2 kB"),
        ("with a rest", ONCE),
        ("own sampler", ONCE),
        ("random dataset", ANEW),
        ("random loader", ANEW),
        ("stream", "train is read anew in every epoch: it is a stream"),
    ],
)
def test_the_curves_are_those_of_one_by_one(kind: str, said: str) -> None:
    lanes, serial = ListFeed(*mixed(8)), ListFeed(*mixed(8))
    (line,) = in_lanes(task(kind), lanes, 3)
    assert line.startswith(said)
    assert_equal(lanes, serially(task(kind), serial))


@pytest.mark.parametrize("kind", ["dataset", "loader", "with a rest", "own sampler"])
def test_reading_once_changes_no_number(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout too draws what it would: the loader takes as many random numbers from it."""
    chosen = config(epochs=3, batch_size=32, average="swa")
    once, anew = ListFeed(Trial(0, chosen, (3, 4))), ListFeed(Trial(0, chosen, (3, 4)))
    serially(task(kind, dropout=0.3), once)
    monkeypatch.setattr(opening, "free_memory", lambda _: 0)
    serially(task(kind, dropout=0.3), anew)
    assert [point.values for point in once.points] == [point.values for point in anew.points]


def test_the_serial_engine_says_it_once_and_keeps_what_it_read() -> None:
    said: list[str] = []
    reads: list[int] = []

    class Counted(TensorDataset):
        def __getitem__(self, place: int) -> tuple[Tensor, ...]:
            reads.append(place)
            return super().__getitem__(place)

    iris = task_of("iris-mlp")
    data: Any = Counted(*iris.train)
    own = Task(model=iris.model, train=data, valid=iris.valid, loss=F.cross_entropy)
    feed = ListFeed(*[Trial(n, config(), (n,)) for n in range(3)])
    engine = SerialEngine("cpu", "float32", Objective("valid/loss", maximize=False), said.append)
    del reads[:]  # the task looked at the first example
    engine.run(lambda _: own, feed)
    assert said == ["train is read once into memory: 90 examples, 2.16 kB"]
    assert len(reads) == 90 + 2 * 32
    assert len(feed.points) == 9
