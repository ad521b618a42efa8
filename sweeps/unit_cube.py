"""Optuna distributions as one dimension of the unit cube: how TPE, QMC and CMA-ES see a space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Numeric = FloatDistribution | IntDistribution


def from_unit(distribution: BaseDistribution, u: float) -> Any:
    """Return the distribution's quantile at `u` in [0, 1); equal shares for discrete values."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(u * len(distribution.choices))]
    if not isinstance(distribution, Numeric):
        raise TypeError(f"no quantile is known for {distribution}")
    low, high = float(distribution.low), float(distribution.high)
    step = distribution.step
    if distribution.log:
        value = math.exp(_mix(*_ends(distribution), u))
    elif step is not None:
        value = low + step * int(u * _count(distribution))
    else:
        value = _mix(low, high, u)
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def to_unit(distribution: Numeric, value: float) -> float:
    """Return the place of `value` in [0, 1]: the inverse of `from_unit`, mid-cell if discrete."""
    return float(places(distribution, [value])[0])


def places(distribution: BaseDistribution, values: Sequence[Any]) -> NDArray[np.float64]:
    """Return `to_unit` of many values; of categories, their index."""
    if isinstance(distribution, CategoricalDistribution):
        return np.array([distribution.to_internal_repr(value) for value in values], float)
    if not isinstance(distribution, Numeric):
        raise TypeError(f"no place is known for {distribution}")
    given = np.asarray(values, float)
    if distribution.low == distribution.high:
        return np.full(len(given), 0.5)
    start, end = _ends(distribution)
    return ((np.log(given) if distribution.log else given) - start) / (end - start)


class Cells(NamedTuple):
    """The stretches of [0, 1] that stand for a discrete value, and the place of the value."""

    left: NDArray[np.float64]
    middle: NDArray[np.float64]
    right: NDArray[np.float64]


def cells(distribution: BaseDistribution, u: NDArray[np.float64]) -> Cells | None:
    """Return the cells around places `u`; None where values are not discrete numbers."""
    if not isinstance(distribution, Numeric) or distribution.step is None:
        return None
    if distribution.log:
        start, end = _ends(distribution)
        values = np.round(np.exp(_mix(start, end, u))).clip(distribution.low, distribution.high)
        edges = (np.log(values + shift) for shift in (-0.5, 0.0, 0.5))
        return Cells(*((edge - start) / (end - start) for edge in edges))
    count = _count(distribution)
    index = np.floor(u * count).clip(0, count - 1)
    return Cells(index / count, (index + 0.5) / count, (index + 1) / count)


def _ends(distribution: Numeric) -> tuple[float, float]:
    """Return what 0 and 1 stand for, in logarithms on a log scale: half a step beyond the range."""
    half = (distribution.step or 0) / 2
    low, high = distribution.low - half, distribution.high + half
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _count(distribution: Numeric) -> int:
    return round((distribution.high - distribution.low) / (distribution.step or 1)) + 1


def _mix(low: Any, high: Any, u: Any) -> Any:
    return low + (high - low) * u
