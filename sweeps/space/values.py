"""Values of a search space: which are numbers, which are equal, and how people read them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any, TypeGuard

EDGE_TOLERANCE = 1e-12
"""A number this close to a bound, relative to it, is the bound: 1 - 0.9 is not quite 0.1."""


def is_int(value: Any) -> TypeGuard[int]:
    """Return whether `value` is a whole number written as one (`True` and `3.0` are not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether `value` is a number (`True` is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: Any) -> TypeGuard[int | float]:
    """Return whether `value` is a number that a float can hold."""
    return is_number(value) and -sys.float_info.max <= value <= sys.float_info.max


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same to a user: 1 and 1.0 are, 1 and true are not."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def index_of(values: Sequence[Any], value: Any) -> int:
    """Return the index of the first of `values` that is the same as `value`.

    Raises:
        ValueError: none is.
    """
    for index, candidate in enumerate(values):
        if same(candidate, value):
            return index
    raise ValueError(f"{value!r} is not among {list(values)}")


def inside(value: Any, low: float, high: float) -> float:
    """Return `value` as a float between `low` and `high`, clipped where it is a rounding beside.

    Raises:
        ValueError: it is not a number, or lies outside.
    """
    if not is_number(value):
        raise ValueError(f"{value!r} is not a number")
    clipped = min(max(value, low), high)
    if abs(clipped - value) > EDGE_TOLERANCE * abs(clipped):
        raise ValueError(f"{value!r} is not in [{low}, {high}]")
    return float(clipped)


def value_bounds(values: Sequence[Any]) -> tuple[float, float] | None:
    """Return the smallest and the largest of `values`, or None when not all are numbers."""
    if all(is_number(value) for value in values):
        return min(values), max(values)
    return None


def tidy(value: float) -> float:
    """Return `value` without the noise of binary fractions: 3 * 0.1 is 0.3 (12 digits kept)."""
    return float(f"{value:.12g}")


def number(value: float) -> str:
    """Return the shortest usual way to write a number: 0.1, 1e-4, 30, 1e6."""
    if is_int(value):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    plain = f"{value:.12g}"
    mantissa, _, exponent = f"{value:.11e}".partition("e")
    scientific = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if "e" in plain or len(scientific) < len(plain):
        return scientific
    return plain


def value_text(value: Any) -> str:
    """Return a value as a sweep file writes it: text bare, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value)
    return json.dumps(value)
