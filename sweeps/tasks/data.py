"""How an engine reads a task's data: in order for evaluation, shuffled for training.

The order of an epoch depends on (seed, epoch) only, so a trial sees the same batches in every
engine, alone or in company, in the first run or after a restart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from studies.errors import UserError

if TYPE_CHECKING:
    from sweeps.tasks.task import Data

Batch = tuple[tuple[Tensor, ...], Tensor]
"""The model's inputs, `[B, ...]` each, and the target, `[B, ...]`."""

EVALUATION_BATCH = 1024


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Share of examples whose largest logit, output `[B, C]`, is the target class `[B]`."""
    return (output.argmax(dim=1) == target).to(torch.float32).mean()


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of everything random in one epoch (from 1; 0 = the initial weights)."""
    return (seed * 1_000_003 + epoch) % (2**63)


def seed_everything(seed: int) -> None:
    """Seed what a model, a loader or an augmentation may draw from: torch, random and NumPy.

    `torch.manual_seed` does the same by way of torch's compiler, ten times as slowly.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


class Split(Protocol):
    """One of a task's data sets, on the device."""

    def steps(self, batch_size: int) -> int:
        """Return the number of optimizer steps in an epoch."""

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Yield one epoch of training batches."""

    def ordered(self) -> Iterator[Batch]:
        """Yield every example once, in its own order."""


def loader_batch_size(data: Data) -> int | None:
    """Return the batch size of a DataLoader, None for data that is batched here."""
    if not isinstance(data, DataLoader):
        return None
    return data.batch_size or getattr(data.batch_sampler, "batch_size", None) or 1


def example_count(data: Data) -> int:
    """Return the number of examples of data that is batched here."""
    return len(data[0]) if isinstance(data, tuple) else len(cast(Sized, data))


class TensorSplit:
    """Tensors that fit in the device's memory: a batch is one indexing a tensor."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tensors
        self._n = len(tensors[0])

    def steps(self, batch_size: int) -> int:
        return _full_batches(self._n, batch_size)

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Batch]:
        for block in self.order(batch_size, seed):
            for index in block:
                yield self.batch(index)

    def order(self, batch_size: int, seed: int) -> list[Tensor]:
        """Return the examples of an epoch's batches, those of one size together, `[steps, B]`."""
        steps = self.steps(batch_size)
        order = torch.randperm(self._n, generator=self._generator(seed))
        order = order[: steps * batch_size].to(self.tensors[0].device)
        return [order.view(steps, batch_size)]

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def batch(self, index: Tensor) -> Batch:
        """Return the examples at `index`, of any shape."""
        return _batch([tensor[index] for tensor in self.tensors])

    def ordered(self) -> Iterator[Batch]:
        for parts in zip(*(torch.split(t, EVALUATION_BATCH) for t in self.tensors), strict=True):
            yield _batch(parts)


class DatasetSplit:
    """A map-style dataset, batched and shuffled here."""

    def __init__(self, data: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._data = cast(Dataset[Any], data)
        self._n = len(data)
        self._device, self._dtype = device, dtype

    def steps(self, batch_size: int) -> int:
        return _full_batches(self._n, batch_size)

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Batch]:
        self.steps(batch_size)
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(
            self._data, batch_size, shuffle=True, drop_last=True, generator=generator
        )
        yield from _placed(loader, self._device, self._dtype)

    def ordered(self) -> Iterator[Batch]:
        yield from _placed(DataLoader(self._data, EVALUATION_BATCH), self._device, self._dtype)


class LoaderSplit:
    """The user's own DataLoader: its batch size, its sampler; only the seed is ours."""

    def __init__(
        self, name: str, loader: DataLoader[Any], device: torch.device, dtype: torch.dtype
    ) -> None:
        try:
            self._steps = len(loader)
        except TypeError:
            raise UserError(
                f"Task: {name} is a DataLoader without a length; a schedule needs the number of "
                "steps in an epoch. Give its dataset a __len__"
            ) from None
        self._loader = loader
        self._device, self._dtype = device, dtype

    def steps(self, batch_size: int) -> int:
        return self._steps

    @property
    def generators(self) -> list[torch.Generator]:
        """What the loader and its sampler draw from, where it is not torch's own generator."""
        return generators_of(self._loader)

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Batch]:
        reseed(self._loader, seed)
        yield from _placed(self._loader, self._device, self._dtype)

    def ordered(self) -> Iterator[Batch]:
        yield from _placed(self._loader, self._device, self._dtype)


def reseed(loader: DataLoader[Any], seed: int) -> None:
    """Seed the generators that a loader and its sampler have of their own."""
    for generator in generators_of(loader):
        generator.manual_seed(seed)


def generators_of(loader: DataLoader[Any]) -> list[torch.Generator]:
    """Return what a loader and its sampler draw from, where it is not torch's own generator."""
    found = [getattr(owner, "generator", None) for owner in (loader, loader.sampler)]
    return [generator for generator in found if generator is not None]


def _full_batches(n: int, batch_size: int) -> int:
    if batch_size > n:
        raise UserError(
            f"batch_size {batch_size} is larger than the {n} training examples; an epoch is "
            f"n // batch_size full batches, so at most {n} is allowed"
        )
    return n // batch_size


def _placed(loader: DataLoader[Any], device: torch.device, dtype: torch.dtype) -> Iterator[Batch]:
    for parts in loader:
        yield _batch([place(tensor, device, dtype) for tensor in parts])


def _batch(parts: Any) -> Batch:
    *inputs, target = parts
    return tuple(inputs), target


def place(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a tensor on the device, in `dtype` where it is floating-point."""
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
