"""How the numbers of workers look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeps.numbers import together

if TYPE_CHECKING:
    from sweeps.numbers import Numbers

COLUMNS = ["lanes>", "steps/s>", "examples/s>", "asking>", "training>", "evaluating>", "reporting>"]


def cells(numbers: Numbers) -> tuple[str, ...]:
    """Return the numbers as a table's cells, under `COLUMNS`."""
    shares = (f"{share:.0%}" for share in numbers.shares.values())
    return _lanes(numbers), *_paces(numbers), *shares


def line(each: Mapping[str, Numbers]) -> str | None:
    """Return the numbers of all workers together as a line; None where nobody has any."""
    numbers = together(each.values())
    if numbers is None:
        return None
    steps, examples = _paces(numbers)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in numbers.shares.items())
    return f"lanes {_lanes(numbers)}, {steps} steps/s, {examples} examples/s; {shares}"


def _lanes(numbers: Numbers) -> str:
    return f"{numbers.models}/{numbers.lanes}"


def _paces(numbers: Numbers) -> tuple[str, str]:
    return _pace(numbers.steps_per_second), _pace(numbers.examples_per_second)


def _pace(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
