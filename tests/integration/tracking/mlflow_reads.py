"""Reads of an MLflow store that several tests make."""

from __future__ import annotations

import calendar
import math
import sqlite3
import sys
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from studies import queries
from sweeps.config import Config

LARGEST = sys.float_info.max  # how MLflow keeps infinity in SQL


def rows(path: Path, query: str = "SELECT count(*) FROM metrics") -> Any:
    """One value out of MLflow's own file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchone()[0]
    finally:
        connection.close()


def child_runs(client: MlflowClient, name: str = "digits") -> dict[int, Run]:
    """The active child runs by trial number; no trial has two."""
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id], "tags.trial LIKE '%'")
    children = {int(run.data.tags["trial"]): run for run in found}
    assert len(children) == len(found)
    return children


def parent_run(client: MlflowClient, name: str = "digits") -> Run:
    """The one active run without a trial."""
    experiment = client.get_experiment_by_name(name)
    (run,) = (
        run
        for run in client.search_runs([experiment.experiment_id])
        if "mlflow.parentRunId" not in run.data.tags
    )
    return run


def history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    """A metric's points by step."""
    points = client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def as_stored(value: float) -> float:
    """What MLflow's SQL store makes of a number."""
    return math.copysign(LARGEST, value) if math.isinf(value) else value


def assert_agree(full: Any, client: MlflowClient) -> None:
    """Every trial that has started is in MLflow with its params, curves, value and times."""
    runs = child_runs(client)
    board = {row.number: row for row in queries.leaderboard(full.storage, "digits")}
    curves = queries.curves(full.storage, "digits")
    assert set(runs) == {row.number for row in board.values() if row.state != "WAITING"}
    for number, run in runs.items():
        row, frozen = board[number], full.study.trials[number]
        flat = Config.from_json(row.config).flat()
        assert run.data.params.keys() == flat.keys()
        assert float(run.data.params["lr"]) == flat["lr"] == frozen.params["lr"]
        assert run.data.params["optimizer"] == row.config["optimizer"]
        for name, curve in curves.get(number, {}).items():
            stored = history(client, run, name)
            assert str(stored) == str([(step, as_stored(value)) for step, value in curve])
        assert run.data.metrics.get("value") == (row.value if row.state != "RUNNING" else None)
        assert run.data.tags["outcome"] == row.outcome
        start = frozen.datetime_start.replace(tzinfo=None)
        assert abs(run.info.start_time / 1000 - _epoch(start)) < 0.0011
        if frozen.state.is_finished():
            assert abs(run.info.end_time / 1000 - _epoch(frozen.datetime_complete)) < 0.0011


def _epoch(moment: Any) -> float:
    return calendar.timegm(moment.timetuple()) + moment.microsecond / 1e6
