"""`sweeps export`: a study as CSV, JSON or Parquet.

JSON has `{"study", "trials": [{"number", "outcome", "params", "value", "epochs", "seconds",
"curves": {"valid/loss": [[1, 0.52], ...]}, "attempts": [worker's id, ...], ...}], "workers": {id:
{"git_commit", "environment", ...}}}`; `params` are the effective values, `sampled` the study DB's
own, `seconds` of training, `device_seconds` its share of the device's time, `peak_memory` in bytes
(null on a CPU). NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".

CSV and Parquet have one row a trial with a column a parameter (`params.lr`); Parquet has the
curves too, as lists. Of the workers they have the last one's code (`git_commit`, `git_dirty`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies import attempts, queries
from sweeps.config import read_config
from sweeps.json_safe import safe

if TYPE_CHECKING:
    import pandas as pd

    from studies import Attempt, StudyStorage


def study_json(storage: StudyStorage, study: str) -> dict[str, Any]:
    """Return the whole study, trials in order of their numbers; non-finite floats stay floats."""
    rows = sorted(queries.leaderboard(storage, study), key=lambda row: row.number)
    curves = queries.curves(storage, study)
    trained = attempts(storage, study)
    trials = [
        {
            "number": row.number,
            "outcome": row.outcome,
            "state": row.state,
            "origin": row.origin,
            "params": _effective(row.config, row.params),
            "sampled": dict(row.params),
            "value": row.value,
            "epochs": row.epochs,
            "seconds": row.seconds,
            "device_seconds": row.device_seconds,
            "peak_memory": row.peak_memory,
            "reason": row.reason,
            "retry_of": row.retry_of,
            "diverged_step": row.diverged_step,
            "last_value": row.last_value,
            "last_epoch": row.last_epoch,
            "test": dict(row.test),
            "curves": curves.get(row.number, {}),
            "attempts": [attempt.worker_id for attempt in trained.get(row.number, [])],
        }
        for row in rows
    ]
    workers = {each.worker_id: _worker(each) for made in trained.values() for each in made}
    return {"study": study, "trials": trials, "workers": dict(sorted(workers.items()))}


def _worker(attempt: Attempt) -> dict[str, Any]:
    facts = asdict(attempt)
    del facts["worker_id"], facts["claimed_at"]
    return facts


def write(storage: StudyStorage, study: str, form: str, output: Path | None) -> None:
    """Write the study to `output`, or to standard output."""
    data = study_json(storage, study)
    if form == "json":
        text = json.dumps(safe(data), indent=1, ensure_ascii=False) + "\n"
    elif form == "csv":
        text = _frame(data, curves=False).to_csv(index=False)
    else:
        _frame(data, curves=True).to_parquet(output)
        return
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def _effective(config: Any, sampled: Any) -> dict[str, Any]:
    return dict(sampled) if config is None else dict(read_config(config).flat())


def _frame(data: dict[str, Any], *, curves: bool) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for trial in data["trials"]:
        row = {k: v for k, v in trial.items() if not isinstance(v, dict | list)}
        last = data["workers"][trial["attempts"][-1]] if trial["attempts"] else {}
        row |= {name: last.get(name) for name in ("git_commit", "git_dirty")}
        row |= {f"params.{name}": value for name, value in trial["params"].items()}
        row |= trial["test"]
        if curves:
            for name, curve in trial["curves"].items():
                row[f"curve.{name}"] = [float(value) for _, value in curve]
        rows.append(row)
    frame = pd.DataFrame(rows)
    for name in frame.columns:
        if name.startswith("params.") and _is_mixed(frame[name].dropna()):
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame


def _is_mixed(values: Any) -> bool:
    """Whether values of one column have several types, which Parquet has no column for."""
    kinds = {"number" if type(value) in (int, float) else type(value).__name__ for value in values}
    return len(kinds) > 1
