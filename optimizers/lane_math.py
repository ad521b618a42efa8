"""The few operations that rules need and that floats and lane tensors do not share.

A coefficient is a float (drop-in) or a tensor whose first axis is the lane (lanes). A flag is a
coefficient that is zero or not. Norms and means are of each lane's own weight: over every axis but
the first, kept as axes of one, so that they multiply a tensor [K, *shape] as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Number = TypeVar("Number", float, "Tensor")
"""A coefficient: a float (drop-in) or a tensor with a leading lane axis (lanes)."""


def multiply_add(x: Tensor, y: Tensor, c: Number) -> Tensor:
    """x + c * y in one pass over memory, which for floats and tensors are two calls in torch."""
    return x.add(y, alpha=c) if isinstance(c, float | int) else x.addcmul(y, c)


def is_zero(c: Number) -> bool:
    """Is a coefficient the float 0, so that what it multiplies need not be read?"""
    return isinstance(c, float | int) and c == 0


def where(flag: Number | bool, yes: Number, no: Number) -> Number:
    """`yes` where the coefficient `flag` is not zero, else `no`; what is not chosen may be NaN."""
    if isinstance(flag, float | int):
        return yes if flag else no
    import torch

    return torch.where(flag != 0, yes, no)


def select(flag: Number, yes: Tensor, no: Tensor) -> Tensor:
    """The tensor `yes` in the lanes whose coefficient `flag` is not zero, else `no`."""
    if isinstance(flag, float | int):
        return yes if flag else no
    return yes.where(flag != 0, no)


def maximum(x: Number, y: Number | float) -> Number:
    """The larger of two numbers."""
    return max(x, y) if isinstance(x, float | int) else x.clamp(min=y)


def minimum(x: Number, y: Number | float) -> Number:
    """The smaller of two numbers."""
    return min(x, y) if isinstance(x, float | int) else x.clamp(max=y)


def log(x: Number) -> Number:
    """The natural logarithm of a number."""
    return math.log(x) if isinstance(x, float | int) else x.log()


def square_root(x: Number) -> Number:
    """The square root, the same bits for both: torch's is not always the correctly rounded one."""
    import torch

    if isinstance(x, float | int):
        return torch.tensor(x, dtype=torch.float64).sqrt().item()
    return x.sqrt()


def any_lane(flag: Number) -> bool:
    """Is the coefficient `flag` not zero in some lane? Work that only these need hangs on it."""
    return bool(flag) if isinstance(flag, float | int) else bool((flag != 0).any())


def with_axes(c: Number, axes: int) -> Number:
    """The coefficient for tensors of so many axes, the lane's among them: [K, 1, ...]."""
    if isinstance(c, float | int):
        return c
    return c.reshape(-1, *[1] * (axes - 1))


def sign(x: Tensor) -> Tensor:
    """The sign of each number: -1, 0 or 1, and NaN where it is not finite (torch has 0 for NaN)."""
    return x.sign().add_(x, alpha=0)


def tensor_norm(x: Tensor) -> Tensor:
    """Each lane's Euclidean norm of its weight: [K, *shape] -> [K, 1, ...]."""
    import torch

    norms: Tensor = torch.linalg.vector_norm(x.reshape(x.shape[0], -1), dim=1)
    return norms.reshape(-1, *[1] * (x.dim() - 1))


def tensor_mean(x: Tensor) -> Tensor:
    """Each lane's mean over its weight: [K, *shape] -> [K, 1, ...]."""
    means = x.reshape(x.shape[0], -1).mean(dim=1)
    return means.reshape(-1, *[1] * (x.dim() - 1))


def lane_sum(x: Tensor) -> Tensor:
    """Each lane's sum over its weight: [K, *shape] -> [K] in float64."""
    import torch

    return x.reshape(x.shape[0], -1).sum(dim=1, dtype=torch.float64)


def check_lanes(lanes: Sequence[int], count: int) -> None:
    """Refuse a choice of no lanes, of one that there is not, or of one twice.

    Raises:
        ValueError: names the lanes and those that there are.
    """
    if not lanes or len(set(lanes)) != len(lanes) or not set(lanes) <= set(range(count)):
        text = f"lanes = {list(lanes)!r} is invalid"
        raise ValueError(f"{text}; give lanes of 0..{count - 1}, each at most once")
