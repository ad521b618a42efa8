"""Each lane's own training batches, side by side: inputs and target `[K, B, ...]`.

A lane's order depends on its trial's seed and epoch only. Tensors on the device, also those of a
dataset or a loader that was read once, are gathered for all lanes at once; of what is read anew
each lane draws its own batches, with the random numbers that it would draw alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sweeps.tasks.data import Batch, Split, TensorSplit
from sweeps.tasks.randomness import Randomness, kept


def side_by_side(split: Split, batch_size: int, seeds: Sequence[int]) -> Iterator[Batch]:
    """Yield one epoch, a lane for each of `seeds`."""
    if isinstance(split, TensorSplit):
        orders = [split.order(batch_size, seed) for seed in seeds]
        for blocks in zip(*orders, strict=True):
            for index in torch.stack(blocks, dim=1):  # [K, B]
                yield split.batch(index)
        return
    lanes = [_Lane(split.shuffled(batch_size, seed), Randomness.of(seed)) for seed in seeds]
    for _ in range(split.steps(batch_size)):
        batches = [lane.next() for lane in lanes]
        inputs = zip(*(own for own, _ in batches), strict=True)
        yield (
            tuple(torch.stack(parts) for parts in inputs),
            torch.stack([target for _, target in batches]),
        )


class _Lane:
    """One lane's batches, drawn with its own random numbers."""

    def __init__(self, batches: Iterator[Batch], randomness: Randomness) -> None:
        self._batches, self._randomness = batches, randomness

    def next(self) -> Batch:
        with kept():
            self._randomness.set()
            try:
                return next(self._batches)
            finally:
                self._randomness = Randomness.now()
