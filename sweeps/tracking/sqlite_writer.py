"""Many runs in one transaction, straight into the tables of MLflow's SQLite file.

Through MLflow's client a short run takes three calls, 15 ms of CPU (on one machine) and an fsync
for each of its transactions; here it takes 1 ms. The rows are those that the client writes (a test
compares the files), by the rules of `mlflow.store.tracking.sqlalchemy_store`: NaN is 0 with a mark,
an infinity the largest number, a point that is there already is left out, `latest_metrics` has the
last point of each metric. The commit is as durable as MLflow's own: no pragma of the file changes.
A file whose tables are not those that this module knows is left to the client.
"""

from __future__ import annotations

import math
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.tracking.changes import Change
    from sweeps.tracking.runs import Point

_BUSY_SECONDS = 20.0  # for another writer, as MLflow waits
_PAUSE_SECONDS = 0.12  # between transactions: one that waits for the file tries every 0.1 s

_COLUMNS = {
    "runs": {
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id"),
        *("status", "start_time", "end_time", "deleted_time", "source_version"),
        *("lifecycle_stage", "artifact_uri", "experiment_id"),
    },
    "tags": {"key", "value", "run_uuid"},
    "params": {"key", "value", "run_uuid"},
    "metrics": {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
    "latest_metrics": {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
}
_RUN = """
    INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
        start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
    VALUES (?, ?, 'UNKNOWN', '', '', ?, 'RUNNING', ?, '', 'active', ?, ?)"""
_TAG = """
    INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"""
_PARAM = """
    INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)
    ON CONFLICT (key, run_uuid) DO NOTHING"""
_METRIC = """
    INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, timestamp, step, run_uuid, value, is_nan) DO NOTHING"""
_LATEST = """
    INSERT INTO latest_metrics AS old (run_uuid, key, step, timestamp, value, is_nan)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE SET step = excluded.step, value = excluded.value,
        timestamp = excluded.timestamp, is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value)
        > (old.step, old.timestamp, old.value)"""
_STATUS = "UPDATE runs SET status = ?, end_time = coalesce(?, end_time) WHERE run_uuid = ?"

_Row = tuple[str, str, int, int, float, bool]  # run, key, step, timestamp, value, is_nan


class SqliteWriter:
    """Writes changes into a SQLite file that MLflow has made; all of a run's change, or none of it.

    Args:
        path: the file.
        experiment: the experiment's id.
        artifacts: the experiment's artifact location, a path or URI.
    """

    # A fifth of a second, for which other writers wait.
    batch = 200
    most_points = 20_000  # in a transaction of more than one run

    def __init__(self, path: Path, experiment: str, artifacts: str) -> None:
        self._path, self._experiment, self._artifacts = path, experiment, artifacts

    def fits(self) -> bool:
        """Whether the file's tables are the ones that this module knows."""
        with self._connected() as connection:
            return all(
                {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")} == known
                for table, known in _COLUMNS.items()
            )

    def write(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Yield each change, with the id of its run, when its transaction is in the store.

        Raises:
            mlflow.exceptions.MlflowException: the file refuses, or lacks the experiment or a run.
        """
        for place, some in enumerate(_parts(changes, self.most_points)):
            if place:
                time.sleep(_PAUSE_SECONDS)
            yield from self._write_at_once(some)

    def _write_at_once(self, changes: Sequence[Change]) -> Sequence[Change]:
        made = [change if change.run_id else replace(change, run_id=_id()) for change in changes]
        new = [after for before, after in zip(changes, made, strict=True) if not before.run_id]
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._check_active(connection, {c.run_id for c in changes if c.run_id})
            self._insert_runs(connection, new)
            _insert_data(connection, made)
            connection.execute("COMMIT")
        return made

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

        # Never an empty file in place of a lost one.
        opened = partial(sqlite3.connect, f"{self._path.as_uri()}?mode=rw", uri=True)
        try:
            with closing(opened(timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except sqlite3.Error as error:
            raise MlflowException(f"{self._path}: {error}", TEMPORARILY_UNAVAILABLE) from error

    def _check_active(self, connection: sqlite3.Connection, run_ids: set[str]) -> None:
        """Refuse a deleted experiment and deleted runs, as MLflow does."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

        for table, key, wanted in (
            ("experiments", "experiment_id", {self._experiment}),
            ("runs", "run_uuid", run_ids),
        ):
            marks = ", ".join("?" * len(wanted))
            query = f"SELECT count(*) FROM {table} WHERE lifecycle_stage = 'active' AND {key} IN"
            (found,) = connection.execute(f"{query} ({marks})", list(wanted)).fetchone()
            if found != len(wanted):
                raise MlflowException(
                    f"{self._path}: {len(wanted) - found} of {len(wanted)} {table} are not there "
                    "or deleted",
                    INVALID_PARAMETER_VALUE,
                )

    def _insert_runs(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        rows = [
            (
                change.run_id,
                change.name,
                change.tags.get("mlflow.user", "unknown"),
                change.start,
                self._folder(change.run_id),
                int(self._experiment),
            )
            for change in changes
        ]
        connection.executemany(_RUN, rows)
        names = [(run_id, "mlflow.runName", name) for run_id, name, *_ in rows]
        connection.executemany(_TAG, names)

    def _folder(self, run_id: str) -> str:
        from mlflow.utils.uri import append_to_uri_path

        folder = append_to_uri_path(  # type: ignore[no-untyped-call]
            self._artifacts, run_id, "artifacts"
        )
        return str(folder)


def _parts(changes: Iterable[Change], most: int) -> Iterator[list[Change]]:
    """Split changes where they would have more than so many points; one that has stays whole."""
    part: list[Change] = []
    count = 0
    for change in changes:
        if part and count + len(change.points) > most:
            yield part
            part, count = [], 0
        part.append(change)
        count += len(change.points)
    if part:
        yield part


def _insert_data(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    tags = [(c.run_id, key, value) for c in changes for key, value in c.tags.items()]
    params = [(c.run_id, key, value) for c in changes for key, value in c.params.items()]
    points = [_row(change.run_id, point) for change in changes for point in change.points]
    latest: dict[tuple[str, str], _Row] = {}
    for row in points:
        last = latest.setdefault(row[:2], row)
        if row[2:5] > last[2:5]:
            latest[row[:2]] = row
    connection.executemany(_TAG, tags)
    connection.executemany(_PARAM, params)
    connection.executemany(_METRIC, points)
    connection.executemany(_LATEST, list(latest.values()))
    ends = [(c.status, c.end, c.run_id) for c in changes if c.status is not None]
    connection.executemany(_STATUS, ends)


def _row(run_id: str, point: Point) -> _Row:
    value, is_nan = float(point.value), math.isnan(point.value)
    if is_nan:
        value = 0.0
    elif math.isinf(value):
        value = math.copysign(sys.float_info.max, value)
    return run_id, point.key, point.step, point.timestamp, value, is_nan


def _id() -> str:
    return uuid.uuid4().hex
