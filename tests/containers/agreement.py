"""MLflow, asked by its client over HTTP, against the study DB: every run, param and point."""

from __future__ import annotations

from typing import Any

from mlflow import MlflowClient

from studies import StudyStorage, queries
from sweeps.tracking import runs
from tests.integration.tracking.mlflow_reads import as_stored, child_runs, history, parent_run


def compare(storage: StudyStorage, study: str, address: str) -> dict[str, Any]:
    """Count what MLflow has, and what differs from the study DB."""
    client = MlflowClient(address)
    children, curves = child_runs(client, study), queries.curves(storage, study)
    board = {row.number: row for row in queries.leaderboard(storage, study)}
    params = points = wrong_params = wrong_ends = 0
    other: list[str] = []
    for number, row in board.items():
        run = children.get(number)
        if run is None:
            continue
        params += len(run.data.params)
        wrong_params += run.data.params != runs.params(row)
        wrong_ends += run.info.status != runs.STATUS[row.state]
        wrong_ends += run.data.metrics.get("value") != row.value
        for name, curve in curves[number].items():
            stored = history(client, run, runs.key(name))
            points += len(stored)
            wanted = [(step, as_stored(value)) for step, value in curve]
            if str(stored) != str(wanted):
                other.append(f"trial {number}, {name}: {wanted} here, {stored} in MLflow")
    parent = parent_run(client, study)
    files = [file.path for file in client.list_artifacts(parent.info.run_id)]
    return {
        "mlflow_runs": 1 + len(children),
        "mlflow_params": params,
        "mlflow_points": points,
        "mlflow_artifacts": sorted(files),
        "other_points": other,
        "must_be_0": {
            "runs_without_a_trial_or_missing": len(board.keys() ^ children.keys()),
            "runs_with_other_params": wrong_params,
            "curves_with_other_points": len(other),
            "runs_that_ended_otherwise": wrong_ends,
            "parent_not_finished": int(parent.info.status != "FINISHED"),
            "artifacts_missing": int(not files),
        },
    }
