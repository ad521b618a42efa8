"""Each lane's own training batches, side by side: inputs and target `[K, B, ...]`.

A lane's order depends on its trial's seed and epoch only. Tensors on the device, also those of a
dataset or a loader that was read once, are gathered for all lanes at once; of what is read anew
each lane draws its own batches, with the random numbers that it would draw alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sweeps.tasks.data import Batch, LoaderSplit, Split, TensorSplit
from sweeps.tasks.randomness import Randomness, kept

Parts = tuple[Tensor, ...]
"""The examples' places [K, B] and all data, or inputs and target [K, B, ...]; see `Gather`."""
Gather = Callable[..., Batch]
"""Parts -> inputs and target `[K, B, ...]`, by tensor operations only."""


def side_by_side(split: Split, batch_size: int, seeds: Sequence[int]) -> Iterator[Batch]:
    """Yield one epoch, a lane for each of `seeds`."""
    gather, parts = in_parts(split, batch_size, seeds)
    return (gather(*each) for each in parts)


def in_parts(split: Split, batch_size: int, seeds: Sequence[int]) -> tuple[Gather, Iterator[Parts]]:
    """Return what makes the batches, and what it makes them of, step by step."""
    if isinstance(split, TensorSplit):
        orders = [split.order(batch_size, seed) for seed in seeds]
        blocks = (torch.stack(lanes, dim=1) for lanes in zip(*orders, strict=True))  # [S, K, B]
        return _picked, ((index, *split.tensors) for block in blocks for index in block)
    drawn = _drawn(split, batch_size, seeds)
    return _given, ((*inputs, target) for inputs, target in drawn)


def constant(gather: Gather, parts: Parts) -> int:
    """Return how many of the parts, the last ones, are the same tensors at every step."""
    return len(parts) - 1 if gather is _picked else 0


def _picked(index: Tensor, *data: Tensor) -> Batch:
    return _given(*(tensor[index] for tensor in data))


def _given(*batch: Tensor) -> Batch:
    *inputs, target = batch
    return tuple(inputs), target


def _drawn(split: Split, batch_size: int, seeds: Sequence[int]) -> Iterator[Batch]:
    own = split.generators if isinstance(split, LoaderSplit) else []
    lanes = [_Lane(split.shuffled(batch_size, seed), seed, own) for seed in seeds]
    for _ in range(split.steps(batch_size)):
        batches = [lane.next() for lane in lanes]
        inputs = zip(*(own for own, _ in batches), strict=True)
        yield (
            tuple(torch.stack(parts) for parts in inputs),
            torch.stack([target for _, target in batches]),
        )


class _Lane:
    """One lane's batches, drawn with its own random numbers; `own` are the loader's generators."""

    def __init__(self, batches: Iterator[Batch], seed: int, own: Sequence[torch.Generator]) -> None:
        self._batches, self._own = batches, own
        self._randomness = Randomness.of(seed, own)

    def next(self) -> Batch:
        with kept(self._own):
            self._randomness.set(self._own)
            try:
                return next(self._batches)
            finally:
                self._randomness = Randomness.now(self._own)
