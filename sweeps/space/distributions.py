"""The distributions of a sweep file: how a value is sampled, and what the sampled value means.

    file value <- effective(sampled) <- Optuna samples `sampled_name(name)` in `optuna()`
    file value -> encode(value) -> sampled

    Categorical   values, equally likely (one value: a constant, never a dimension)
    Integer       whole numbers from low to high
    Float         uniform, or log-uniform, from low to high
    OneMinusLog   log-uniform in 1 - x, searched as `one_minus_<name>`
    Weighted, Quantile (`sweeps.space.quantiles`): what Optuna has no distribution for, searched as
                  its quantile `<name>_quantile`

Meanings and names are those of W&B's sweep configuration. Deliberate deviations: an absent `q` is
the whole number 1, so that it gives whole numbers; a grid over `q_uniform` has every value that a
draw can take, both ends included.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.config import Scalar, scalar
from sweeps.space.values import (
    index_of,
    inside,
    is_int,
    is_number,
    number,
    tidy,
    value_bounds,
    value_text,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Distribution(ABC):
    """How one knob is sampled. All are frozen; equal distributions are equal."""

    def sampled_name(self, name: str) -> str:
        """Return the name under which the study DB keeps the sampled value of knob `name`."""
        return name

    @abstractmethod
    def optuna(self) -> BaseDistribution:
        """Return Optuna's distribution of the sampled value."""

    @abstractmethod
    def effective(self, sampled: Any) -> Any:
        """Return the knob's value that a sampled one stands for."""

    @abstractmethod
    def encode(self, value: Any) -> Scalar:
        """Return a sampled value whose effective value is `value`.

        Raises:
            ValueError: no sampled value stands for it.
        """

    def grid(self) -> Sequence[Any] | None:
        """Return the effective values that make a grid, or None where the contract has none."""
        return None

    @abstractmethod
    def bounds(self) -> tuple[float, float] | None:
        """Return the smallest and the largest value, or None when not all are numbers."""

    @abstractmethod
    def whole(self) -> bool:
        """Return whether every value is a whole number (an int)."""

    @abstractmethod
    def first(self) -> Any:
        """Return the value a known configuration takes that does not name this knob.

        The first of a list; the smallest of discrete numbers; the middle of a continuous range.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the distribution in the sweep file's own form."""

    @abstractmethod
    def describe(self) -> str:
        """Return the distribution in a few words, for people."""

    @property
    def single(self) -> bool:
        """Whether there is but one value, so that nothing is searched."""
        return False


@dataclass(frozen=True)
class Categorical(Distribution):
    """One of `values`, equally likely; a list or mapping among them is sampled as JSON text."""

    values: tuple[Any, ...]

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([scalar(value) for value in self.values])

    def effective(self, sampled: Any) -> Any:
        return self.values[index_of([scalar(value) for value in self.values], sampled)]

    def encode(self, value: Any) -> Scalar:
        return scalar(self.values[index_of(self.values, value)])

    def grid(self) -> tuple[Any, ...]:
        return self.values

    def bounds(self) -> tuple[float, float] | None:
        return value_bounds(self.values)

    def whole(self) -> bool:
        return all(is_int(value) for value in self.values)

    def first(self) -> Any:
        return self.values[0]

    def to_json(self) -> dict[str, Any]:
        return {"value": self.values[0]} if self.single else {"values": list(self.values)}

    def describe(self) -> str:
        texts = [value_text(value) for value in self.values]
        return texts[0] if self.single else f"{{{', '.join(texts)}}}"

    @property
    def single(self) -> bool:
        return len(self.values) == 1


@dataclass(frozen=True)
class Integer(Distribution):
    """A whole number from `low` to `high`, both included, equally likely (`int_uniform`)."""

    low: int
    high: int

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high)

    def effective(self, sampled: Any) -> int:
        return int(sampled)

    def encode(self, value: Any) -> int:
        if not is_number(value) or value != int(value) or not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not in {self.describe()}")
        return int(value)

    def grid(self) -> range:
        return range(self.low, self.high + 1)

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def whole(self) -> bool:
        return True

    def first(self) -> int:
        return self.low

    def to_json(self) -> dict[str, Any]:
        return {"distribution": "int_uniform", "min": self.low, "max": self.high}

    def describe(self) -> str:
        return f"[{self.low}, {self.high}] whole numbers"


@dataclass(frozen=True)
class Float(Distribution):
    """A real number from `low` to `high`, uniform or log-uniform."""

    low: float
    high: float
    log: bool = False

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def effective(self, sampled: Any) -> float:
        return float(sampled)

    def encode(self, value: Any) -> float:
        return inside(value, self.low, self.high)

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def whole(self) -> bool:
        return False

    def first(self) -> float:
        if self.log:
            return math.sqrt(self.low * self.high)
        return (self.low + self.high) / 2

    def to_json(self) -> dict[str, Any]:
        kind = "log_uniform_values" if self.log else "uniform"
        return {"distribution": kind, "min": self.low, "max": self.high}

    def describe(self) -> str:
        return f"[{number(self.low)}, {number(self.high)}]" + (" log" if self.log else "")


@dataclass(frozen=True)
class OneMinusLog(Distribution):
    """x from `low` to `high` < 1, where 1 - x is log-uniform: the scale of betas and momentum."""

    low: float
    high: float

    def sampled_name(self, name: str) -> str:
        return f"one_minus_{name}"

    def optuna(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(tidy(1 - self.high), tidy(1 - self.low), log=True)

    def effective(self, sampled: Any) -> float:
        value = 1 - float(sampled)
        return min(max(value, self.low), self.high)

    def encode(self, value: Any) -> float:
        value = inside(value, self.low, self.high)
        return float(min(max(1 - value, tidy(1 - self.high)), tidy(1 - self.low)))

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def whole(self) -> bool:
        return False

    def first(self) -> float:
        return 1 - math.sqrt((1 - self.low) * (1 - self.high))

    def to_json(self) -> dict[str, Any]:
        return {"distribution": "one_minus_log_uniform", "min": self.low, "max": self.high}

    def describe(self) -> str:
        return f"[{number(self.low)}, {number(self.high)}] log in 1 - x"
