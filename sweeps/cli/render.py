"""How results look in a terminal: numbers, tables, sparklines, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from sweeps.json_safe import safe
from sweeps.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from studies import Worker
    from studies.rows import TrialRow

OWN_LOOP = "its function trains by itself: one call a trial, one at a time in each worker"
"""Said of a task whose function takes a `trial`."""
BARS = "▁▂▃▄▅▆▇█"


def echo_json(value: Any) -> None:
    """Print `value` as JSON, NaN and infinities as the strings "NaN", "Infinity", "-Infinity"."""
    click.echo(json.dumps(safe(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Return nested data with every time as ISO 8601 text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.isoformat() + "Z" if hasattr(value, "isoformat") else value


def worker_json(worker: Worker, trials: Sequence[int]) -> dict[str, Any]:
    """Return a worker with the numbers of the trials that it holds."""
    return {**asdict(worker), "trials": list(trials)}


def number(value: Any, digits: int = 4) -> str:
    """Return a value as people read it: 0.0123, 1.2e-05, adamw; a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def duration(seconds: float | None) -> str:
    """Return seconds as 12 s, 3 m 20 s or 2 h 05 m."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def recorded(row: TrialRow) -> str:
    """Return what a trial took of its device, and how far a diverged one came; empty: unknown."""
    parts = []
    if row.device_seconds is not None:
        parts.append(f"{duration(row.device_seconds)} of the device")
    if row.peak_memory is not None:
        parts.append(f"at most {row.peak_memory / 2**20:,.0f} MiB of its memory")
    if row.diverged_step is not None:
        parts.append(f"not finite from step {row.diverged_step} on")
    if row.last_value is not None:
        parts.append(f"before it {number(row.last_value)}, at epoch {row.last_epoch}")
    return "; ".join(parts)


def sparkline(values: Sequence[float], width: int = 60, low: float | None = None) -> str:
    """Return a curve as bars, at most `width`; x marks a non-finite value.

    The bars span the values' range, or start at `low`.
    """
    stride = max(1, math.ceil(len(values) / width))
    shown = list(values)[::stride]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return "x" * len(shown)
    bottom = min(finite) if low is None else low
    span = (max(finite) - bottom) or 1.0
    return "".join(
        BARS[round((value - bottom) / span * (len(BARS) - 1))] if math.isfinite(value) else "x"
        for value in shown
    )


def table(columns: Iterable[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """Return a rich table; a column whose name ends in `>` is aligned to the right.

    Only the last column gives way where the terminal is too narrow.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    shown = title and escape(printable(title))
    made = Table(title=shown, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    names = list(columns)
    for name in names:
        justify: Literal["left", "right"] = "right" if name.endswith(">") else "left"
        last = name is names[-1]
        heading = escape(printable(name.rstrip(">")))
        made.add_column(heading, justify=justify, no_wrap=not last, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(cell) for cell in row))
    return made


def _cell(value: Any) -> Text:
    """Return a value as a cell: names and values of users are not markup of rich's."""
    from rich.text import Text

    return Text(printable(number(value)))


def console() -> Console:
    """Return a console on standard output; 120 columns where that is no terminal."""
    from rich.console import Console

    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=120)
