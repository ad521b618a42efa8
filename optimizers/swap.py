"""Other weights in a model for a while, and its own ones back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def swapped(params: Sequence[Tensor], weights: Sequence[Tensor]) -> Iterator[None]:
    """Within: `params` hold the numbers of `weights`; afterwards their own, bit for bit."""
    own = [p.detach().clone() for p in params]
    try:
        _copy(params, weights)
        yield
    finally:
        _copy(params, own)


@torch.no_grad()
def _copy(params: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    for p, weight in zip(params, weights, strict=True):
        p.copy_(weight)
