"""Optuna distributions as one dimension of the unit cube: how QMC and CMA-ES see a space."""

from __future__ import annotations

import math
from typing import Any

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
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        value = math.exp(_mix(math.log(low - half), math.log(high + half), u))
    elif step is not None:
        value = low + step * int(u * (round((high - low) / step) + 1))
    else:
        value = _mix(low, high, u)
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def to_unit(distribution: Numeric, value: float) -> float:
    """Return the place of `value` in [0, 1]: the inverse of `from_unit`, mid-cell if discrete."""
    low, high = float(distribution.low), float(distribution.high)
    if low == high:
        return 0.5
    if distribution.log:
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        start, end = math.log(low - half), math.log(high + half)
        return (math.log(value) - start) / (end - start)
    if distribution.step is not None:
        cells = round((high - low) / distribution.step) + 1
        return (round((value - low) / distribution.step) + 0.5) / cells
    return (value - low) / (high - low)


def _mix(low: float, high: float, u: float) -> float:
    return low + (high - low) * u
