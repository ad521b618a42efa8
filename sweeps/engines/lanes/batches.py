"""Each lane's own training batches, side by side: inputs and target `[K, B, ...]`.

A lane's order depends on its trial's seed and epoch only. Tensors on the device are gathered for
all lanes at once; of a dataset or a loader each lane draws its own batches, with the random numbers
that it would draw alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeps.tasks.data import Batch, LoaderSplit, Split, TensorSplit, seed_everything


def side_by_side(split: Split, batch_size: int, seeds: Sequence[int]) -> Iterator[Batch]:
    """Yield one epoch, a lane for each of `seeds`."""
    if isinstance(split, TensorSplit):
        orders = torch.stack([split.order(batch_size, seed) for seed in seeds], dim=1)
        for index in orders:  # [K, B]
            yield split.batch(index)
        return
    own = split.generators if isinstance(split, LoaderSplit) else []
    lanes = [_Lane(split.shuffled(batch_size, seed), seed, own) for seed in seeds]
    for _ in range(split.steps(batch_size)):
        batches = [lane.next() for lane in lanes]
        inputs = zip(*(own for own, _ in batches), strict=True)
        yield (
            tuple(torch.stack(parts) for parts in inputs),
            torch.stack([target for _, target in batches]),
        )


@dataclass(frozen=True)
class _Randomness:
    """The state of every generator that a loader or an augmentation may draw from."""

    pytorch: Tensor
    python: Any
    numpy: Any
    own: list[Tensor]

    @classmethod
    def now(cls, own: Sequence[torch.Generator]) -> _Randomness:
        states = [generator.get_state() for generator in own]
        return cls(torch.get_rng_state(), random.getstate(), np.random.get_state(), states)

    def set(self, own: Sequence[torch.Generator]) -> None:
        torch.set_rng_state(self.pytorch)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        for generator, state in zip(own, self.own, strict=True):
            generator.set_state(state)


class _Lane:
    """One lane's batches, drawn with its own random numbers; `own` are the loader's generators."""

    def __init__(self, batches: Iterator[Batch], seed: int, own: Sequence[torch.Generator]) -> None:
        self._batches, self._own = batches, own
        before = _Randomness.now(own)
        seed_everything(seed)
        self._randomness = _Randomness.now(own)
        before.set(own)

    def next(self) -> Batch:
        before = _Randomness.now(self._own)
        self._randomness.set(self._own)
        try:
            return next(self._batches)
        finally:
            self._randomness = _Randomness.now(self._own)
            before.set(self._own)
