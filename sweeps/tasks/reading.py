"""Datasets and loaders whose examples were read once: the batches that reading them anew gives.

A `DataLoader` draws a number for its workers, then its sampler draws the order; both from a
generator of their own if they have one, else from torch's. Here the same numbers are drawn from the
same generators, so that what draws after them (dropout) draws the same too.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from sweeps.tasks.data import Batch, TensorSplit, reseed, seed_everything
from sweeps.tasks.randomness import kept


class ReadDataset(TensorSplit):
    """A map-style dataset in memory, with the order of `DatasetSplit`."""

    def _generator(self, seed: int) -> torch.Generator:
        generator = super()._generator(seed)
        _draw(generator)
        return generator


class ReadLoader(TensorSplit):
    """The examples of a loader in memory, with the batches of `LoaderSplit`."""

    def __init__(self, tensors: tuple[Tensor, ...], loader: DataLoader[Any]) -> None:
        super().__init__(tensors)
        self._loader = loader

    def steps(self, batch_size: int) -> int:
        return len(self._loader)

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Batch]:
        reseed(self._loader, seed)
        yield from self.ordered()

    def order(self, batch_size: int, seed: int) -> list[Tensor]:
        if _only_shuffles(self._loader):
            index, sizes = self._permuted(seed)
        else:
            with kept():
                seed_everything(seed)
                reseed(self._loader, seed)
                batches = list(self._places())
            index, sizes = _index(chain.from_iterable(batches)), list(map(len, batches))
        index = index.to(self.tensors[0].device)
        parts = [(size, len(list(equal))) for size, equal in groupby(sizes)]
        blocks = torch.split(index, [size * count for size, count in parts])
        return [block.view(-1, size) for block, (size, _) in zip(blocks, parts, strict=True)]

    def ordered(self) -> Iterator[Batch]:
        for places in self._places():
            yield self.batch(_index(places).to(self.tensors[0].device))

    def _places(self) -> Iterator[list[Any]]:
        """Yield the examples of each batch, drawn as a `DataLoader` does."""
        assert self._loader.batch_sampler is not None  # else it is not read once
        batches = iter(self._loader.batch_sampler)
        _draw(self._loader.generator)
        yield from map(list, batches)

    def _permuted(self, seed: int) -> tuple[Tensor, list[int]]:
        """Return an epoch of a loader that only shuffles and its batch sizes, without a loop."""
        loader, sampler = self._loader, self._loader.sampler
        assert isinstance(sampler, RandomSampler)
        assert loader.batch_size is not None
        kinds = {None, loader.generator, sampler.generator}
        seeded = {kind: torch.Generator().manual_seed(seed) for kind in kinds}  # None: torch's own
        _draw(seeded[loader.generator])
        own = seeded[sampler.generator]
        if sampler.generator is None:
            own = torch.Generator().manual_seed(_draw(own))
        count, size = sampler.num_samples, loader.batch_size
        sizes = [size] * (count // size)
        if not loader.drop_last and count % size:
            sizes.append(count % size)
        return torch.randperm(count, generator=own)[: sum(sizes)], sizes


def _only_shuffles(loader: DataLoader[Any]) -> bool:
    sampler = loader.sampler
    return (
        type(sampler) is RandomSampler
        and type(loader.batch_sampler) is BatchSampler
        and loader.batch_size is not None
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    )


def _draw(generator: torch.Generator | None) -> int:
    """Draw a seed as torch's loaders and samplers do; None: from torch's own generator."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


def _index(places: Iterable[Any]) -> Tensor:
    return torch.tensor([operator.index(place) for place in places])
