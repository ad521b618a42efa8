"""Distributions that Optuna does not have, searched as their quantile: `<name>_quantile` in (0, 1).

sampled u -> effective x = F^-1(u), rounded to multiples of q where the distribution has a q
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from sweeps.space.distributions import Distribution
from sweeps.space.values import index_of, is_int, is_number, number, tidy, value_bounds, value_text

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EDGE = 1e-6
"""Quantiles are searched in [1e-6, 1 - 1e-6]: a normal's ends are infinite."""


class _ByQuantile(Distribution):
    """What Optuna has no distribution for: a uniform quantile is searched in its place."""

    def sampled_name(self, name: str) -> str:
        return f"{name}_quantile"

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(EDGE, 1 - EDGE)


@dataclass(frozen=True)
class Weighted(_ByQuantile):
    """One of `values` with `probabilities`, searched as the quantile of the list in its order."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...]

    def effective(self, sampled: Any) -> Any:
        ends = list(accumulate(self.probabilities))
        return self.values[min(bisect_right(ends, sampled * ends[-1]), len(ends) - 1)]

    def encode(self, value: Any) -> float:
        index = index_of(self.values, value)
        if self.probabilities[index] <= EDGE:
            raise ValueError(f"{value!r} has probability {self.probabilities[index]}")
        return (sum(self.probabilities[:index]) + self.probabilities[index] / 2) / sum(
            self.probabilities
        )

    def bounds(self) -> tuple[float, float] | None:
        return value_bounds(self.values)

    def whole(self) -> bool:
        return all(is_int(value) for value in self.values)

    def first(self) -> Any:
        return self.values[0]

    def to_json(self) -> dict[str, Any]:
        return {"values": list(self.values), "probabilities": list(self.probabilities)}

    def describe(self) -> str:
        pairs = zip(self.values, self.probabilities, strict=True)
        return f"{{{', '.join(f'{value_text(v)}: {number(100 * p)} %' for v, p in pairs)}}}"


@dataclass(frozen=True)
class Quantile(_ByQuantile):
    """`family`(a, b), rounded to multiples of `q` if given: `round(x / q) * q`.

    Families: `uniform` and `log_uniform` from a to b; `normal` and `log_normal` with mu = a,
    sigma = b; `beta` with shape parameters a and b.
    """

    family: str
    a: float
    b: float
    q: float | None = None

    def effective(self, sampled: Any) -> float:
        return self._rounded(_quantile(self.family, self.a, self.b, float(sampled)))

    def encode(self, value: Any) -> float:
        if not is_number(value):
            raise ValueError(f"{value!r} is not a number")
        if self.q is None:
            quantile = _cumulative(self.family, self.a, self.b, value)
        else:
            half = self.q / 2
            below = _cumulative(self.family, self.a, self.b, value - half)
            quantile = (below + _cumulative(self.family, self.a, self.b, value + half)) / 2
        inside = EDGE <= quantile <= 1 - EDGE
        tolerance = 1e-9 * max(1.0, abs(value))
        if not inside or abs(self.effective(quantile) - value) > tolerance:
            raise ValueError(f"{value!r} is not in {self.describe()}")
        return quantile

    def grid(self) -> tuple[float, ...] | None:
        if self.q is None or self.family != "uniform":
            return None
        # A step counts when more than an end point of the range rounds to it.
        start = math.floor(self.a / self.q + 0.5 + 1e-9)
        end = math.ceil(self.b / self.q - 0.5 - 1e-9)
        return tuple(self._rounded(step * self.q) for step in range(start, end + 1))

    def bounds(self) -> tuple[float, float]:
        return self.effective(EDGE), self.effective(1 - EDGE)

    def whole(self) -> bool:
        return is_int(self.q)

    def first(self) -> float:
        return self.effective(0.5) if self.q is None else self.bounds()[0]

    def to_json(self) -> dict[str, Any]:
        names = {"beta": ("a", "b"), "normal": ("mu", "sigma"), "log_normal": ("mu", "sigma")}
        first, second = names.get(self.family, ("min", "max"))
        kind = "log_uniform_values" if self.family == "log_uniform" else self.family
        shape = {"distribution": kind, first: self.a, second: self.b}
        if self.q is None:
            return shape
        return shape | {"distribution": f"q_{kind}", "q": self.q}

    def describe(self) -> str:
        text = f"{self.family}({number(self.a)}, {number(self.b)})"
        return text if self.q is None else f"{text} in steps of {number(self.q)}"

    def _rounded(self, value: float) -> float:
        if self.q is None:
            return value
        step = round(value / self.q)
        return step * self.q if is_int(self.q) else tidy(step * self.q)


def _quantile(family: str, a: float, b: float, u: float) -> float:
    if family == "uniform":
        return a + (b - a) * u
    if family == "log_uniform":
        return math.exp(math.log(a) + (math.log(b) - math.log(a)) * u)
    if family == "normal":
        return NormalDist(a, b).inv_cdf(u)
    if family == "log_normal":
        return math.exp(NormalDist(a, b).inv_cdf(u))
    from scipy.special import betaincinv

    return float(betaincinv(a, b, u))


def _cumulative(family: str, a: float, b: float, x: float) -> float:
    if family.startswith("log_"):
        if x <= 0:
            return 0.0
        bounds = (math.log(a), math.log(b)) if family == "log_uniform" else (a, b)
        return _cumulative(family.removeprefix("log_"), *bounds, math.log(x))
    if family == "uniform":
        return min(max((x - a) / (b - a), 0.0), 1.0)
    if family == "normal":
        return NormalDist(a, b).cdf(x)
    from scipy.special import betainc

    return float(betainc(a, b, min(max(x, 0.0), 1.0)))
