"""How the numbers of workers look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeps.cli.render import table
from sweeps.engines.tally import PHASES
from sweeps.numbers import together

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sweeps.numbers import Numbers

_COLUMNS = ["lanes>", "steps/s>", "examples/s>", *(f"{phase}>" for phase in PHASES)]


def line(each: Mapping[str, Numbers]) -> str | None:
    """Return the numbers of all workers together as a line; None where nobody has any."""
    numbers = together(each.values())
    if numbers is None:
        return None
    steps, examples = _paces(numbers)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in numbers.shares.items())
    return f"lanes {lanes(numbers)}, {steps} steps/s, {examples} examples/s; {shares}"


def picture(each: Mapping[str, Numbers]) -> list[RenderableType]:
    """Return what the workers do: a line for all, and a row each where there are several."""
    from rich.text import Text

    said = line(each)
    if said is None:
        return []
    if len(each) < 2:
        return [Text(said)]
    rows = [(worker, *_cells(own)) for worker, own in each.items()]
    return [Text(said), table(["worker", *_COLUMNS], rows)]


def lanes(numbers: Numbers) -> str:
    """Return how many models train in how many lanes: 60/64."""
    return f"{numbers.models}/{numbers.lanes}"


def _cells(numbers: Numbers) -> tuple[str, ...]:
    shares = (f"{numbers.shares[phase]:.0%}" for phase in PHASES)
    return lanes(numbers), *_paces(numbers), *shares


def _paces(numbers: Numbers) -> tuple[str, str]:
    return _pace(numbers.steps_per_second), _pace(numbers.examples_per_second)


def _pace(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
