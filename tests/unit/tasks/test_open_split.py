"""Datasets and loaders read once: the same batches as read anew, and what is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    StackDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from sweeps.tasks import opening
from sweeps.tasks.data import Batch, DatasetSplit, LoaderSplit, Split, TensorSplit, seed_everything
from sweeps.tasks.opening import open_split
from sweeps.tasks.reading import ReadDataset, ReadLoader

CPU = torch.device("cpu")
X = torch.arange(600.0).view(300, 2)
Y = torch.arange(300)
DATA = TensorDataset(X, Y)


class Changed(Dataset[Any]):
    """`DATA`, each example given to a function."""

    def __init__(self, change: Callable[[Any, Any], Any]) -> None:
        self.change = change

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, place: int) -> Any:
        return self.change(*DATA[place])


def opened(data: Any) -> tuple[Split, str]:
    said: list[str] = []
    split = open_split("train", data, CPU, torch.float64, said.append)
    (line,) = said or [""]
    return split, line


def numbers(batches: Iterator[Batch]) -> list[Any]:
    return [([x.tolist() for x in inputs], target.tolist()) for inputs, target in batches]


SOURCES: dict[str, Callable[[], Any]] = {
    "dataset": lambda: DATA,
    "subset": lambda: Subset(DATA, range(7, 250)),
    "numbers and arrays": lambda: Changed(lambda x, y: (x.numpy(), float(x[0]), int(y))),
    "shuffled": lambda: DataLoader(DATA, 16, shuffle=True),
    "without the rest": lambda: DataLoader(DATA, 16, shuffle=True, drop_last=True),
    "in order": lambda: DataLoader(DATA, 16),
    "own generator": lambda: DataLoader(DATA, 16, shuffle=True, generator=torch.Generator()),
    "own sampler": lambda: DataLoader(
        DATA, 16, sampler=RandomSampler(DATA, True, 170, generator=torch.Generator())
    ),
    "both": lambda: DataLoader(
        DATA,
        16,
        sampler=RandomSampler(DATA, generator=torch.Generator()),
        generator=torch.Generator(),
    ),
    "only the sampler's": lambda: DataLoader(
        DATA, 16, sampler=RandomSampler(DATA, generator=torch.Generator()), drop_last=True
    ),
    "replaced": lambda: DataLoader(DATA, 16, sampler=RandomSampler(DATA, True, 170)),
    "a few": lambda: DataLoader(DATA, 16, sampler=RandomSampler(DATA, num_samples=50)),
    "from others": lambda: DataLoader(DATA, 16, sampler=RandomSampler(range(40))),
    "weighted": lambda: DataLoader(DATA, 16, sampler=WeightedRandomSampler(Y + 1.0, 80)),
    "batch sampler": lambda: DataLoader(DATA, batch_sampler=[[3, 1], [4], [1, 5], [9, 2]]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_batches_are_those_of_reading_anew(name: str) -> None:
    split, said = opened(SOURCES[name]())
    assert isinstance(split, ReadDataset | ReadLoader)
    assert said.startswith("train is read once into memory: ")
    data = SOURCES[name]()
    anew: Split = DatasetSplit(data, CPU, torch.float64)
    if isinstance(data, DataLoader):
        anew = LoaderSplit("train", data, CPU, torch.float64)
    assert split.steps(16) == anew.steps(16)
    seed_everything(3)
    wanted = numbers(anew.ordered())
    seed_everything(3)
    assert numbers(split.ordered()) == wanted
    for seed in (4, 5, 4):
        seed_everything(seed)
        wanted = numbers(anew.shuffled(16, seed))
        drawn = torch.rand(3).tolist()
        seed_everything(seed)
        assert numbers(split.shuffled(16, seed)) == wanted
        assert torch.rand(3).tolist() == drawn  # the random numbers go on as they would
        blocks = split.order(16, seed)  # whatever was drawn before
        assert numbers(split.batch(index) for block in blocks for index in block) == wanted
    assert torch.rand(()) != torch.rand(())


def test_it_is_said_how_much_is_held_in_the_precision_of_the_sweep() -> None:
    split, said = opened(DATA)
    assert said == "train is read once into memory: 300 examples, 7.2 kB"  # 2 x 8 + 8 bytes each
    ((inputs,), target) = next(split.ordered())
    assert (inputs.dtype, target.dtype) == (torch.float64, torch.int64)
    assert isinstance(open_split("train", (X, Y), CPU, torch.float32), TensorSplit)


def flip(x: Tensor, y: Tensor) -> Any:
    return (x.flip(0) if random.random() < 0.01 else x), y


OWN = np.random.default_rng(0)


class Stream(IterableDataset[Any]):
    def __len__(self) -> int:
        return 300

    def __iter__(self) -> Any:
        return iter(DATA)


class OwnLoader(DataLoader[Any]):
    def __iter__(self) -> Any:
        return map(list, super().__iter__())


def ragged(x: Tensor, y: Tensor) -> Any:
    return x if y < 299 else x.repeat(2), y


RANDOM = "its examples are random (they draw random numbers, or differ when read twice)"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (Changed(lambda x, y: (x + torch.randn(2), y)), RANDOM),
        (Changed(lambda x, y: (x + float(np.random.normal()), y)), RANDOM),
        (Changed(flip), RANDOM),  # seldom, so that two readings are mostly equal
        (Changed(lambda x, y: (x + OWN.normal(), y)), RANDOM),
        (Changed(lambda x, y: (x + (torch.rand(()) if y == 299 else 0), y)), RANDOM),
        (DataLoader(Changed(lambda x, y: (x + torch.randn(2), y)), 16), RANDOM),
        (DataLoader(Stream(), 16), "it is a stream"),
        (OwnLoader(DATA, 16), "OwnLoader iterates in its own way"),
        (DataLoader(DATA, 16, collate_fn=lambda batch: batch), "a collate_fn of its own"),
        (DataLoader(DATA, None), "a collate_fn of its own"),
        (StackDataset(x=X, y=Y), "its examples are not tuples of tensors"),
        (Changed(lambda x, y: (x, str(y))), "its examples are not tuples of tensors"),
        (Changed(lambda x, y: (x, int(y) if y < 299 else 0.5)), "its examples differ in type"),
        (Changed(ragged), "RuntimeError: stack expects each tensor to be equal size"),
        (TensorDataset(X[:0], Y[:0]), "it is empty"),
    ],
)
def test_what_is_read_anew(data: Any, why: str) -> None:
    seed_everything(3)
    split, said = opened(data)
    assert type(split) in (DatasetSplit, LoaderSplit)
    assert said.startswith("train is read anew in every epoch: ")
    assert why in said
    drawn = (torch.rand(()).item(), random.random(), np.random.rand())
    seed_everything(3)
    assert drawn == (torch.rand(()).item(), random.random(), np.random.rand())


def test_numbers_that_are_missing_are_not_random() -> None:
    with_gaps = TensorDataset(X.where(X != 4, torch.nan), Y)
    split, _ = opened(with_gaps)
    assert isinstance(split, ReadDataset)


def test_what_does_not_fit_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "free_memory", lambda _: 28_000)
    split, said = opened(DATA)
    assert isinstance(split, DatasetSplit)
    assert said == (
        "train is read anew in every epoch: it takes 7.2 kB, more than a quarter of the free "
        "memory (7 kB)"
    )
    monkeypatch.setattr(opening, "free_memory", lambda _: 28_800)
    assert isinstance(opened(DATA)[0], ReadDataset)
