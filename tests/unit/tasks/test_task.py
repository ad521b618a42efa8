"""What a `Task` checks of itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from studies import UserError
from sweeps import Task
from sweeps.tasks.data import accuracy
from sweeps.tasks.opening import open_split

X = torch.arange(12.0).view(6, 2)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])
CPU = torch.device("cpu")


def task(**changes: Any) -> Task:
    settings: dict[str, Any] = {
        "model": lambda: nn.Linear(2, 3),
        "train": (X, CLASSES),
        "valid": (X, CLASSES),
        "loss": F.cross_entropy,
    }
    return Task(**{**settings, **changes})


def test_accuracy_is_there_for_classification_only() -> None:
    assert task().metrics == {"accuracy": accuracy}
    assert task(train=(X, X[:, 0]), loss=F.mse_loss).metrics == {}
    assert task(metrics={"loss2": F.cross_entropy}).metrics == {"loss2": F.cross_entropy}


@pytest.mark.parametrize("loader", [False, True])
def test_accuracy_is_there_for_datasets_and_loaders_too(loader: bool) -> None:
    def source(target: torch.Tensor) -> Any:
        data = TensorDataset(X, target)
        return DataLoader(data, 2) if loader else data

    assert task(train=source(CLASSES)).metrics == {"accuracy": accuracy}
    assert task(train=source(X[:, 0]), loss=F.mse_loss).metrics == {}


def test_accuracy_is_the_share_of_largest_logits() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 1])).item() == 0.75


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": 3}, "model must be callable, got 3"),
        ({"loss": None}, "loss must be callable, got None"),
        ({"train": (X, CLASSES[:4])}, "train must be .*lengths \\[6, 4\\]"),
        ({"valid": (X,)}, "valid must be .*lengths \\[6\\]"),
        ({"test": (X[:0], CLASSES[:0])}, "test must be .*lengths \\[0, 0\\]"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer >= 1, got 2.5"),
    ],
)
def test_what_a_task_refuses(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        task(**changes)


def test_data_of_no_known_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"train must be a tuple of tensors.*got list_iterator"):
        open_split("train", iter([1]), CPU, torch.float32)  # type: ignore[arg-type]


class Stream(IterableDataset[tuple[torch.Tensor, ...]]):
    def __iter__(self) -> Any:
        return iter([(X[0], CLASSES[0])])


def test_a_loader_without_a_length_is_refused() -> None:
    with pytest.raises(UserError, match="train is a DataLoader without a length"):
        open_split("train", DataLoader(Stream(), 1), CPU, torch.float32)


def test_a_stream_must_come_in_a_loader() -> None:
    assert task(train=DataLoader(Stream(), 1)).metrics == {}
    with pytest.raises(UserError, match="map-style dataset or a DataLoader, got Stream"):
        open_split("train", Stream(), CPU, torch.float32)
