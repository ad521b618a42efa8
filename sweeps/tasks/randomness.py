"""`Randomness`: the random numbers that a loader or an augmentation may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeps.tasks.data import seed_everything


@dataclass(frozen=True)
class Randomness:
    """The state of every such generator."""

    torch: Tensor
    python: Any
    numpy: Any

    @classmethod
    def now(cls) -> Randomness:
        """Return the present state."""
        return cls(torch.get_rng_state(), random.getstate(), np.random.get_state())

    @classmethod
    def of(cls, seed: int) -> Randomness:
        """Return the state after `seed_everything(seed)`."""
        with kept():
            seed_everything(seed)
            return cls.now()

    def set(self) -> None:
        """Go on from this state."""
        torch.set_rng_state(self.torch)
        random.setstate(self.python)
        np.random.set_state(self.numpy)

    def is_now(self) -> bool:
        """Return whether nothing was drawn since."""
        now = Randomness.now()
        same = torch.equal(self.torch, now.torch) and self.python == now.python
        pairs = zip(self.numpy, now.numpy, strict=True)
        return same and all(np.array_equal(ours, its) for ours, its in pairs)


@contextmanager
def kept() -> Iterator[None]:
    """Afterwards the random numbers go on as if nothing had been drawn."""
    before = Randomness.now()
    try:
        yield
    finally:
        before.set()
