"""A trial as an MLflow run: its name, params, tags, metrics, status and times.

Everything here follows from the study DB alone, so that a repeated export writes the same rows:
the point at step s has the timestamp `start + s` milliseconds, since the study DB keeps no time a
point and MLflow drops a metric only when key, step, timestamp and value are all the same.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sweeps.config import read_config

if TYPE_CHECKING:
    from studies import Sweep
    from studies.rows import Curves, TrialRow

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
WAITING_STATUS, RUNNING_STATUS = "SCHEDULED", "RUNNING"

SWEEP_TAG, TRIAL_TAG = "sweeplane.sweep", "trial"
PARENT_TAG = "mlflow.parentRunId"

_KEY_LIMIT, _PARAM_LIMIT, _TAG_LIMIT = 250, 6000, 8000
_CUT = " ... (cut)"


@dataclass(frozen=True)
class Point:
    """One metric value of a run; `timestamp` in milliseconds since the epoch."""

    key: str
    value: float
    timestamp: int
    step: int


def millis(moment: datetime) -> int:
    """Return a naive UTC time in milliseconds since the epoch."""
    return (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1)


def started(trial: TrialRow) -> int:
    """Return when the trial's present curve began, in milliseconds since the epoch."""
    moment = trial.started or trial.completed
    if moment is None:
        raise ValueError(f"trial {trial.number} ({trial.state}) has never started")
    return millis(moment)


def run_name(trial: TrialRow) -> str:
    """Return the run's name, such as `0007 adamw x cosine`."""
    if trial.config is None:
        return f"{trial.number:04d}"
    return f"{trial.number:04d} {read_config(trial.config).title}"


def sweep_key(sweep: Sweep) -> str:
    """Return what tells a sweep from an earlier one of the same name in the same store."""
    return f"{sweep.name} {sweep.created_at.isoformat()}"


def sweep_tags(sweep: Sweep) -> dict[str, str]:
    """Return the tags that every run of a sweep has."""
    record = sweep.record
    tags = {
        SWEEP_TAG: sweep_key(sweep),
        "study": sweep.name,
        "seed": str(record.seed),
        "mlflow.user": _user(),
        "mlflow.source.name": record.spec_file or "sweeps run",
        "mlflow.source.type": "LOCAL",
    }
    if record.git_commit is not None:
        tags["mlflow.source.git.commit"] = record.git_commit
        tags["mlflow.source.git.dirty"] = str(bool(record.git_dirty)).lower()
    return {name: cut(value, _TAG_LIMIT) for name, value in tags.items()}


def trial_tags(sweep: Sweep, trial: TrialRow, parent_id: str) -> dict[str, str]:
    """Return the tags of a trial's run."""
    tags = sweep_tags(sweep) | {PARENT_TAG: parent_id, TRIAL_TAG: str(trial.number)}
    tags |= outcome_tags(trial)
    config = trial.config or {}
    chosen = ("optimizer", "schedule", "average")  # of a task's trial
    tags |= {name: str(config[name]) for name in chosen if name in config}
    if trial.origin is not None:
        tags["origin"] = trial.origin
    if trial.retry_of is not None:
        tags["retry_of"] = str(trial.retry_of)
    return tags


def end_status(trial: TrialRow) -> str:
    """Return the status of a finished trial's run."""
    return "KILLED" if trial.outcome == "cancelled" else STATUS[trial.state]


def outcome_tags(trial: TrialRow) -> dict[str, str]:
    """Return the tags that say how the trial ended, or that it has not."""
    tags = {"outcome": trial.outcome}
    if trial.reason is not None:
        tags["reason"] = cut(trial.reason, _TAG_LIMIT)
    if trial.diverged_step is not None:
        tags["diverged_step"] = str(trial.diverged_step)
    return tags


def flat(trial: TrialRow) -> dict[str, Any]:
    """Return the effective values; a trial that Sweeplane did not make has its sampled ones."""
    return dict(trial.params) if trial.config is None else read_config(trial.config).flat()


def params(trial: TrialRow) -> dict[str, str]:
    """Return the effective values as MLflow stores them: text, cut with a mark where too long."""
    found: dict[str, str] = {}
    for name, value in flat(trial).items():
        found[_free_key(name, found)] = cut(str(value), _PARAM_LIMIT)
    return found


def _free_key(name: str, taken: Container[str]) -> str:
    """Return the name's key, numbered where another name has it: they differ in what is lost."""
    free, more = key(name), 1
    while free in taken:
        more += 1
        free = f"{key(name)[: _KEY_LIMIT - 10]}_{more}"
    return free


def points(trial: TrialRow, curves: Curves) -> list[Point]:
    """Return the points of the curves, by name and step."""
    start = started(trial)
    found: dict[str, list[Point]] = {}
    for name, curve in sorted(curves.items()):
        taken = _free_key(name, found)
        found[taken] = [Point(taken, value, start + step, step) for step, value in curve]
    return [point for curve in found.values() for point in curve]


def final_points(trial: TrialRow) -> list[Point]:
    """Return a finished trial's `value`, `seconds` and `epochs`, at its last epoch."""
    end = started(trial) if trial.completed is None else millis(trial.completed)
    numbers: Mapping[str, float | None] = {
        "value": trial.value,
        "seconds": trial.seconds,
        "epochs": trial.epochs,
    }
    return [
        Point(name, float(number), end, trial.epochs or 0)
        for name, number in numbers.items()
        if number is not None
    ]


def key(name: str) -> str:
    """Return a metric's or param's name as MLflow takes it: its characters, a path without dots."""
    parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
    kept = "/".join(part for part in parts if part not in ("", ".", ".."))
    return kept[:_KEY_LIMIT] or "_"


def cut(text: str, limit: int) -> str:
    """Return the text as UTF-8 has it, cut with a mark when it is longer than MLflow takes."""
    text = encodable(text)
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def encodable(text: str) -> str:
    r"""Return the text with lone surrogates, which no store takes, as `\udc80`.

    An error may hold them, such as one about a file whose name is not UTF-8.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user id without a name
        return "unknown"
