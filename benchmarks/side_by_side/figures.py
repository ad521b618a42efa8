"""Medians, ratios and tables of the rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.side_by_side.contenders import OURS

FIGURES = (
    "seconds",
    "seconds to target",
    "best validation loss",
    "test accuracy",
    "epochs",
    "peak MB",
)
_FORMATS = dict(zip(FIGURES, (".1f", ".1f", ".4f", ".4f", ",.0f", ",.0f"), strict=True))

Rows = Sequence[Mapping[str, Any]]


def summary(rounds: Rows) -> dict[str, float | None]:
    """Return each figure's median; None where most rounds have none (a target not reached)."""
    found: dict[str, float | None] = {}
    for name in FIGURES:
        values = [math.inf if each[name] is None else each[name] for each in rounds]
        median = statistics.median(values)
        found[name] = median if math.isfinite(median) else None
    return found


def ratios(rows: Rows) -> list[dict[str, Any]]:
    """How many times as fast as each other one Sweeplane is: the median over rounds."""
    found = []
    for own in (row for row in rows if row["contender"] in OURS):
        for row in rows:
            if row["contender"] in OURS or row["trials"] != own["trials"]:
                continue
            pairs = zip(own["rounds"], row["rounds"], strict=True)
            times = statistics.median(other["seconds"] / mine["seconds"] for mine, other in pairs)
            names = {"contender": own["contender"], "than": row["contender"]}
            found.append({"trials": own["trials"], **names, "times": times})
    return found


def growth(rows: Rows) -> list[dict[str, Any]]:
    """Wall time's growth over that of epochs, from the fewest to the most trials."""
    found = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == name]
        if len(own) > 1:
            seconds, epochs = (own[-1][key] / own[0][key] for key in ("seconds", "epochs"))
            sizes = {"from": own[0]["trials"], "to": own[-1]["trials"]}
            grown = {"seconds": seconds, "epochs": epochs, "ratio": seconds / epochs}
            found.append({"contender": name, **sizes, **grown})
    return found


def line(row: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """One run in a line."""
    parts = ", ".join(f"{name} {_cell(name, figures[name])}" for name in FIGURES)
    return f"{row['contender']}, {row['trials']} trials: {parts}"


def lines(result: Mapping[str, Any]) -> list[str]:
    """What the ratios and the growth say."""
    faster = [
        "{trials} trials: {contender} is {times:.2f} times as fast as {than}".format(**each)
        for each in result["ratios"]
    ]
    grown = [
        "{contender}: the wall time of {to} trials is {seconds:.2f} times that of {from}, "
        "{ratio:.2f} times what the epochs are".format(**each)
        for each in result["growth"]
    ]
    return faster + grown


def markdown(rows: Rows) -> str:
    """The README's table."""
    lines = [
        f"| trials | contender | {' | '.join(FIGURES)} |",
        f"|--:|---{'|--:' * len(FIGURES)}|",
    ]
    for row in rows:
        cells = [f"{row['trials']:,}", row["contender"]]
        cells += [_cell(name, row[name]) for name in FIGURES]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(name: str, value: float | None) -> str:
    return "-" if value is None else format(value, _FORMATS[name])
