"""`Task`: what is trained, on what, judged how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from studies.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, Dataset

    Data = tuple[Tensor, ...] | Dataset[tuple[Tensor, ...]] | DataLoader[tuple[Tensor, ...]]
    Metric = Callable[[Tensor, Tensor], Tensor]

DEFAULT_EPOCHS = 30
DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Task:
    """One workload: a model, its data, its loss and its metrics.

    `model` returns a freshly initialised `nn.Module`; its random draws come from the trial's seed.
    `train`, `valid` and `test` are tuples of tensors whose first dimension is the example and whose
    last tensor is the target, map-style datasets of such tuples, or DataLoaders of such batches.
    `loss(output, target)` is a scalar, the mean over the batch; so is each metric. For a
    classification task, whose targets are class indices, accuracy is there by default. With a
    DataLoader the batch size is the loader's own.
    `epochs` and `batch_size` hold where the sweep file names none.

    Raises:
        UserError: a field has the wrong type, or a tuple's tensors differ in length.
    """

    model: Callable[[], nn.Module]
    train: Data
    valid: Data
    loss: Metric
    test: Data | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    epochs: int = DEFAULT_EPOCHS
    batch_size: int = DEFAULT_BATCH_SIZE

    def __post_init__(self) -> None:
        for name in ("model", "loss"):
            if not callable(getattr(self, name)):
                raise UserError(f"Task: {name} must be callable, got {getattr(self, name)!r}")
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"Task: {name} must be an integer >= 1, got {value!r}")
        for name in ("train", "valid", "test"):
            _check_lengths(name, getattr(self, name))
        if not self.metrics and _is_classification(self.train):
            from sweeps.tasks.data import accuracy

            object.__setattr__(self, "metrics", {"accuracy": accuracy})


def _check_lengths(name: str, data: Data | None) -> None:
    if not isinstance(data, tuple):
        return
    lengths = [len(tensor) for tensor in data]
    if len(lengths) < 2 or len(set(lengths)) > 1 or lengths[0] == 0:
        raise UserError(
            f"Task: {name} must be (inputs, ..., target), tensors with the same number of "
            f"examples, got lengths {lengths}"
        )


def _is_classification(data: Data) -> bool:
    """Whether the targets are class indices: whole numbers, one an example."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    if isinstance(data, tuple):
        return not data[-1].is_floating_point() and data[-1].ndim == 1
    examples = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(examples, IterableDataset) or not hasattr(examples, "__getitem__"):
        return False  # what a stream gives first is left to training
    target = torch.as_tensor(examples[0][-1])
    return not target.is_floating_point() and target.ndim == 0
