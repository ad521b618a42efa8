"""Both ways into a store write the same, and hold each other's place."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric, _validate_param
from mlflow_reads import assert_agree, child_runs, history, rows

from sweeps.tracking import runs, sync
from sweeps.tracking.changes import Change
from sweeps.tracking.exporter import Exporter
from sweeps.tracking.sqlite_writer import SqliteWriter
from sweeps.tracking.writers import ClientWriter
from tests.integration.studies.databases import hand_all_back

Write = Callable[[Any, Sequence[Change]], Iterator[Change]]

TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")
WRITERS = {"file": SqliteWriter, "client": ClientWriter}


@pytest.fixture(params=list(WRITERS))
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """The writer that this test's passes take."""
    if request.param == "client":
        monkeypatch.setattr(SqliteWriter, "fits", lambda _: False)
    return WRITERS[request.param]


def contents(path: Path) -> dict[str, list[str]]:
    """MLflow's rows as text, with a run's name in place of its id."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT run_uuid, name FROM runs").fetchall()
    found: dict[str, list[str]] = {}
    for table in TABLES:
        cursor = connection.execute(f"SELECT * FROM {table}")
        columns = [name for name, *_ in cursor.description]
        text = "\n".join(str(dict(zip(columns, row, strict=True))) for row in cursor)
        text = re.sub(r"'deleted_time': \d+", "'deleted_time': now", text)
        for run_id, name in names:
            text = text.replace(run_id, name)
        found[table] = sorted(text.splitlines())
    connection.close()
    return found


def test_the_file_gets_the_rows_that_the_client_writes(
    full: Any, tmp_path: Path, empty_mlflow: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {name: tmp_path / f"{name}.db" for name in WRITERS}
    exporters = {}
    for name, path in paths.items():
        path.write_bytes(empty_mlflow)
        exporters[name] = Exporter(full.storage, "digits", f"sqlite:///{path}")
    fits = SqliteWriter.fits

    def both(count: int) -> None:
        for name, exporter in exporters.items():
            with monkeypatch.context() as patch:
                patch.setattr(SqliteWriter, "fits", fits if name == "file" else lambda _: False)
                exporter.run()
        stored = contents(paths["file"])
        assert stored == contents(paths["client"])
        assert len(stored["metrics"]) == count

    both(32 + 8)
    running = full.start()  # takes the trial that waited
    for epoch, value in enumerate((0.5, float("nan"), float("-inf"), 0.25), 1):
        full.report(running, epoch, value)
    both(40 + 12)
    hand_all_back(full.storage, full.study_id)
    both(52)
    full.start()
    full.train([0.75])
    # Both are made anew, with the 3 and 12 points that their trials have; the second one ends.
    both(52 + 3 + 12 + 4 + 2)


def test_tables_that_are_not_known_are_left_to_the_client(
    full: Any, uri: str, mlflow_db: Path
) -> None:
    with sqlite3.connect(mlflow_db) as connection:
        connection.execute("ALTER TABLE metrics ADD COLUMN unit VARCHAR(20)")
    connection.close()
    exporter = Exporter(full.storage, "digits", uri)
    exporter.run()
    assert isinstance(exporter._writer, ClientWriter)
    assert_agree(full, MlflowClient(uri))


def test_a_path_is_read_as_mlflow_reads_it(full: Any, tmp_path: Path, empty_mlflow: bytes) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_mlflow)
    exporter = Exporter(full.storage, "digits", f"sqlite:///{tmp_path}/a%20b/mlflow.db")
    assert exporter.run().runs == 6
    assert isinstance(exporter._writer, SqliteWriter)
    assert rows(folder / "mlflow.db", "SELECT count(*) FROM runs") == 6


def test_a_transaction_on_the_file_has_so_many_points_and_no_more(
    mlflow_db: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteWriter, "most_points", 5)
    curve = [runs.Point("loss", 0.5, step, step) for step in range(9)]
    changes = [
        Change(number, "", "", 0, str(number), points=curve[:count])
        for number, count in enumerate((2, 3, 1, 9, 0, 5))
    ]
    writer = SqliteWriter(mlflow_db, MlflowClient(uri).create_experiment("x"), "artifacts")
    stored = [rows(mlflow_db, "SELECT count(*) FROM metrics") for _ in writer.write(changes)]
    assert stored == [5, 5, 6, 15, 20, 20]


def test_a_run_deleted_while_it_is_followed_is_made_anew(
    study: Any, uri: str, writer: type[Any]
) -> None:
    trial_id = study.start()
    study.report(trial_id, 1, 0.5)
    exporter = Exporter(study.storage, "digits", uri)
    exporter.run()
    assert isinstance(exporter._writer, writer)
    client = MlflowClient(uri)
    client.delete_run(child_runs(client)[0].info.run_id)
    study.train([0.25])
    study.report(trial_id, 2, 0.75)
    with pytest.raises(MlflowException, match=r"deleted|active"):
        exporter.run()
    sync(study.storage, "digits", uri)
    assert history(client, child_runs(client)[0], "valid/accuracy") == [(1, 0.5), (2, 0.75)]
    assert_agree(study, client)


def test_of_two_processes_at_once_one_keeps_its_runs(
    full: Any, uri: str, mlflow_db: Path, writer: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone: Write = writer.write
    late = Exporter(full.storage, "digits", uri)

    def overtaken(self: Any, changes: Sequence[Change]) -> Iterator[Change]:
        monkeypatch.setattr(writer, "write", alone)
        sync(full.storage, "digits", uri)
        return alone(self, changes)

    monkeypatch.setattr(writer, "write", overtaken)
    late.run()
    client = MlflowClient(uri)
    assert_agree(full, client)
    assert rows(mlflow_db, "SELECT count(*) FROM runs WHERE lifecycle_stage = 'deleted'") == 5
    full.report(5, 2, 0.5)  # the running trial goes on in the run that stands
    late.run()
    assert history(client, child_runs(client)[4], "valid/accuracy") == [(1, 0.375), (2, 0.5)]


@pytest.mark.parametrize("name", ["a//b/../c", "ä & b", ".", "x" * 300, "/a/", "", "train/loss"])
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    key = runs.key(name)
    assert 0 < len(key) <= MAX_ENTITY_KEY_LENGTH
    _validate_metric(key, 0.5, 0, 1)
    _validate_param(key, "x")


def test_progress_counts_the_trials_that_were_open(full: Any, uri: str) -> None:
    said: list[tuple[int, int]] = []
    exporter = Exporter(full.storage, "digits", uri)
    exporter.run(on_progress=lambda *counts: said.append(counts))
    assert said == [(done, 5) for done in range(1, 6)]
    said.clear()
    full.end(5, "failed", epochs=1)
    exporter.run(on_progress=lambda *counts: said.append(counts))
    assert said == [(1, 1)]
