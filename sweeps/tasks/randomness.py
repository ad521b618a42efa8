"""`Randomness`: the random numbers that a loader or an augmentation may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeps.tasks.data import seed_everything


@dataclass(frozen=True)
class Randomness:
    """The state of every such generator, and of those that are a loader's `own`."""

    pytorch: Tensor
    python: Any
    numpy: Any
    own: list[Tensor]

    @classmethod
    def now(cls, own: Sequence[torch.Generator] = ()) -> Randomness:
        """Return the present state."""
        states = [generator.get_state() for generator in own]
        return cls(torch.get_rng_state(), random.getstate(), np.random.get_state(), states)

    @classmethod
    def of(cls, seed: int, own: Sequence[torch.Generator] = ()) -> Randomness:
        """Return the state after `seed_everything(seed)`."""
        with kept(own):
            seed_everything(seed)
            return cls.now(own)

    def set(self, own: Sequence[torch.Generator] = ()) -> None:
        """Go on from this state."""
        torch.set_rng_state(self.pytorch)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        for generator, state in zip(own, self.own, strict=True):
            generator.set_state(state)

    def is_now(self) -> bool:
        """Return whether nothing was drawn since."""
        now = Randomness.now()
        return torch.equal(self.pytorch, now.pytorch) and self.same_beside_torch(now)

    def same_beside_torch(self, other: Randomness) -> bool:
        """Return whether Python's and NumPy's generators are where the other's are."""
        pairs = zip(self.numpy, other.numpy, strict=True)
        same = all(np.array_equal(ours, its) for ours, its in pairs)
        return same and self.python == other.python


@contextmanager
def kept(own: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Afterwards the random numbers go on as if nothing had been drawn."""
    before = Randomness.now(own)
    try:
        yield
    finally:
        before.set(own)
