"""A sweep as MLflow's parent run: what it shows follows from the leaderboard alone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweeps.json_safe import safe
from sweeps.printable import printable
from sweeps.tracking.runs import Point, cut, encodable, flat, key, millis

if TYPE_CHECKING:
    from studies import Sweep
    from studies.queries import StudyStatus
    from studies.rows import TrialRow

STATUS = {"finished": "FINISHED", "failed": "FAILED", "drained": "KILLED"}  # else RUNNING

_TOP = 10
_NOTE_LIMIT = 8000
_MARKS = re.compile(r"[\\`*\[\]<>|]")  # of Markdown and HTML
_SHOWN = ("number", "outcome", "value", "origin", "epochs", "seconds", "reason")


def finished(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Return the trials that have ended, in the order in which they did."""
    ended = [(row.completed, row.number, row) for row in rows if row.completed is not None]
    return [row for _, _, row in sorted(ended, key=lambda item: item[:2])]


def best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the first complete trial of a leaderboard that has a value."""
    return next((r for r in rows if r.outcome == "complete" and r.value is not None), None)


def points(ended: Sequence[TrialRow], metric: str, *, maximize: bool, after: int) -> list[Point]:
    """Return what the trials after the first `after` ended ones add; the step counts ended trials.

    `best/<metric>` is the best value of the complete trials so far, `trials/<outcome>` their count.
    """
    counts: Counter[str] = Counter()
    top: float | None = None
    found: list[list[Point]] = []
    for step, row in enumerate(ended, 1):
        counts[row.outcome] += 1
        if row.outcome == "complete" and row.value is not None:
            better = max if maximize else min
            top = row.value if top is None else better(top, row.value)
        moment = 0 if row.completed is None else millis(row.completed)
        new = [Point(key(f"trials/{row.outcome}"), counts[row.outcome], moment, step)]
        if top is not None:
            new.append(Point(key(f"best/{metric}"), top, moment, step))
        found.append(new)
    return [point for new in found[max(after, 0) :] for point in new]


def tags(sweep: Sweep, status: StudyStatus, rows: Sequence[TrialRow]) -> dict[str, str]:
    """Return the tags that change while the sweep runs, the description among them.

    MLflow never lets a param change, so until the sweep is finished the best configuration is
    the tag `best`.
    """
    found = {"status": sweep.status, "mlflow.note.content": note(sweep, status, rows)}
    top = best(rows)
    if top is not None:
        found |= {
            "best": cut(json.dumps(safe(flat(top))), _NOTE_LIMIT),
            "best.trial": str(top.number),
            "best.value": repr(top.value),
        }
    return found


def note(sweep: Sweep, status: StudyStatus, rows: Sequence[TrialRow]) -> str:
    """Return the run's description: one line, then the best trials as a Markdown table."""
    ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(status.outcomes.items()))
    name, metric = _short(sweep.name), _short(status.metric)
    lines = [
        f"**{name}**: {sweep.status}; {status.trials} trials ({ended or 'none ended'}); "
        f"{status.direction} {metric}.",
        "",
    ]
    top = [row for row in rows if row.outcome == "complete"][:_TOP]
    if top:
        lines += [f"| trial | {metric} | configuration |", "| ---: | ---: | :--- |"]
    for row in top:
        values = ", ".join(f"{_short(name)} {_short(value)}" for name, value in flat(row).items())
        lines.append(f"| {row.number} | {_short(row.value)} | {values} |")
    while len(encodable("\n".join(lines))) > _NOTE_LIMIT:
        lines.pop()
    return encodable("\n".join(lines))


def leaderboard(rows: Sequence[TrialRow]) -> list[dict[str, Any]]:
    """Return the trials, best first, each with its effective values and test metrics."""
    return [
        {name: getattr(row, name) for name in _SHOWN}
        | {"test": dict(row.test), "params": flat(row)}
        for row in rows
    ]


def as_json(rows: Sequence[TrialRow]) -> str:
    """Return the leaderboard as JSON, with "NaN" and "Infinity" as text."""
    return json.dumps(safe(leaderboard(rows)), indent=1, ensure_ascii=False) + "\n"


def as_csv(rows: Sequence[TrialRow]) -> str:
    """Return the leaderboard as CSV, one column a test metric and a param (`params.lr`)."""
    lines = []
    for line in leaderboard(rows):
        named = {f"params.{name}": value for name, value in line.pop("params").items()}
        lines.append(line | line.pop("test") | named)
    columns = list(dict.fromkeys(name for line in lines for name in line if name != "test"))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return _MARKS.sub(r"\\\g<0>", printable(str(value)))
