"""The follower beside a sweep: over a database, over a server, and through its outages."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow_reads import child_runs

from sweeps.mlflow_ui import Server
from sweeps.tracking import Follower, sync
from sweeps.tracking import follower as following
from sweeps.tracking.runs import PARENT_TAG
from tests.conftest import run_sql
from tests.integration.studies.databases import set_status
from tests.waiting import wait_for


@pytest.fixture
def server(uri: str) -> Iterator[Server]:
    """A real tracking server on `mlflow_db`."""
    with Server(uri, port=0) as server:
        yield server


def curves(path: Path) -> dict[tuple[str, str, int], float]:
    """Every point of the child runs in MLflow's file, by trial, metric and step; none twice."""
    connection = sqlite3.connect(path)
    query = f"""
        SELECT number.value, m.key, m.step, CASE WHEN m.is_nan THEN NULL ELSE m.value END
        FROM metrics m JOIN runs r USING (run_uuid)
        JOIN tags number ON number.run_uuid = r.run_uuid AND number.key = 'trial'
        JOIN tags parent ON parent.run_uuid = r.run_uuid AND parent.key = '{PARENT_TAG}'
        WHERE r.lifecycle_stage = 'active'"""
    rows = connection.execute(query).fetchall()
    connection.close()
    found = {(number, key, step): value for number, key, step, value in rows}
    assert len(found) == len(rows)
    return found


def statuses(path: Path) -> list[str]:
    """The statuses of the active runs, the parent's first."""
    connection = sqlite3.connect(path)
    query = "SELECT status FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time"
    rows = connection.execute(query).fetchall()
    connection.close()
    return [status for (status,) in rows]


def test_a_running_trial_shows_while_it_trains(
    study: Any, mlflow_db: Path, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    warnings: list[str] = []
    follower = Follower(study.storage.url, "digits", uri, on_warning=warnings.append)
    follower.start()
    trial_id = study.start()
    study.report(trial_id, 1, 0.5)
    follower.wake()
    wait_for(lambda: ("0", "valid/accuracy", 1) in curves(mlflow_db))
    assert statuses(mlflow_db) == ["RUNNING", "RUNNING"]
    study.report(trial_id, 2, 0.75)
    follower.wake()
    wait_for(lambda: ("0", "train/loss", 2) in curves(mlflow_db))
    study.end(trial_id, "complete", 0.75, epochs=2)
    set_status(study.storage, study.study_id, "finished")
    assert follower.close()
    assert statuses(mlflow_db) == ["FINISHED", "FINISHED"]
    assert curves(mlflow_db)["0", "value", 2] == 0.75
    assert warnings == []
    assert capfd.readouterr() == ("", "")


def test_a_new_database_is_made_without_a_word(
    study: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study.train([0.5])
    path = tmp_path / "new" / "mlflow.db"
    follower = Follower(str(study.storage.url), "digits", f"sqlite:///{path}")
    follower.start()
    assert follower.close()
    assert statuses(path) == ["RUNNING", "FINISHED"]
    assert capfd.readouterr() == ("", "")


def test_through_a_server_and_its_outage(
    full: Any, server: Server, uri: str, mlflow_db: Path
) -> None:
    warnings: list[str] = []
    follower = Follower(full.storage.url, "digits", server.address, on_warning=warnings.append)
    follower.start()
    wait_for(lambda: len(statuses(mlflow_db)) == 6)
    server.close()

    slowest = 0.0
    for _ in range(20):  # the sweep goes on
        full.train([0.5, 0.75])
        begun = time.monotonic()
        follower.wake()
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 0.05
    wait_for(lambda: len(warnings) == 1)
    assert warnings[0].startswith(f"MLflow at {server.address} does not take the results: ")

    with Server(uri, port=server.port) as again:
        assert not again.port_was_taken
        wait_for(lambda: len(statuses(mlflow_db)) == 26)
        set_status(full.storage, full.study_id, "finished")
        assert follower.close()
        stored = curves(mlflow_db)
        # What the server wrote is what a pass on the file would write: it adds nothing.
        assert sync(full.storage, "digits", uri).runs == 0
        assert curves(mlflow_db) == stored
    assert len(warnings) == 1
    assert len({number for number, _, _ in stored}) == 25  # trials 0 to 4 and 20 more
    assert stored["2", "valid/accuracy", 2] is None  # NaN, over JSON
    assert stored["2", "valid/loss", 2] > 1e308
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.status = 'finished'")
    assert parent.info.status == "FINISHED"


def test_long_curves_go_in_batches(study: Any, server: Server, mlflow_db: Path) -> None:
    trial_id = study.start()
    for epoch in range(1, 701):
        study.report(trial_id, epoch, epoch / 1024)
    study.end(trial_id, "complete", 700 / 1024, epochs=700)
    sync(study.storage, "digits", server.address)
    stored = curves(mlflow_db)
    assert len(stored) == 3 * 700 + 1 + 3
    assert stored["0", "valid/accuracy", 513] == 513 / 1024


def test_the_last_pass_says_how_far_it_is(
    study: Any, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SAID_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.001)
    for _ in range(5):
        study.train([0.5])
    said: list[tuple[int, int]] = []
    copying = Follower(study.storage.url, "digits", uri)
    copying.start()
    assert copying.close(on_progress=lambda *counts: said.append(counts))
    assert said
    assert said == sorted(said)
    assert {total for _, total in said} == {5}


def test_long_passes_are_followed_by_long_pauses() -> None:
    assert [following.pause_after(seconds) for seconds in (0.0, 0.25, 60.0)] == [1.0, 2.5, 30.0]


def test_a_server_that_never_answers_holds_nobody_up(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    study.train([0.5])
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://me:secret@127.0.0.1:{mute.getsockname()[1]}"
        follower = Follower(study.storage.url, "digits", address, on_warning=warnings.append)
        follower.start()
        begun = time.monotonic()
        assert not follower.close(patience=0.5)
        assert time.monotonic() - begun < 1.5
        assert not follower.close(patience=30)
    assert "took nothing for" in warnings[0]
    assert "me:***@127.0.0.1" in warnings[0]
    assert "secret" not in "".join(warnings)


def test_a_close_while_a_pass_begins_is_not_lost(study: Any, uri: str) -> None:
    study.train([0.5])
    follower = Follower(study.storage.url, "digits", uri)

    class Woken(threading.Event):
        def clear(self) -> None:
            follower._closing.set()
            self.set()
            super().clear()

    follower._woken = Woken()
    follower.start()
    follower._thread.join(30)
    assert not follower._thread.is_alive()


def test_text_that_utf_8_has_not_is_copied_escaped(study: Any, uri: str) -> None:
    study.train([0.5], path="b\udc81")
    study.end(study.start(), "failed", epochs=0, reason="OSError: 'a\udc80' " + "\udc80" * 2000)
    set_status(study.storage, study.study_id, "finished")
    warnings: list[str] = []
    follower = Follower(study.storage.url, "digits", uri, on_warning=warnings.append)
    follower.start()
    assert follower.close()
    assert warnings == []
    client = MlflowClient(uri)
    complete, failed = (child_runs(client)[number] for number in (0, 1))
    assert complete.data.params["path"] == r"b\udc81"
    assert failed.data.tags["reason"].startswith(r"OSError: 'a\udc80' \udc80")
    assert len(failed.data.tags["reason"]) == 8000
    (parent,) = client.search_runs([failed.info.experiment_id], "tags.status = 'finished'")
    assert r"path b\\udc81" in parent.data.tags["mlflow.note.content"]
    board = json.loads(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/leaderboard.json"))
    assert [row["reason"] and row["reason"][:12] for row in board] == [None, "OSError: 'a\udc80"]


def test_an_error_that_nobody_foresaw_is_a_warning_and_no_success(study: Any, uri: str) -> None:
    study.train([0.5])
    study.study.tell(odd := study.study.ask(), 0.5)
    run_sql(
        str(study.storage.url),
        "INSERT INTO trial_user_attributes (trial_id, key, value_json)"
        f" VALUES ({odd._trial_id}, 'config', '[1]')",
    )
    warnings: list[str] = []
    follower = Follower(study.storage.url, "digits", uri, on_warning=warnings.append)
    follower.start()
    wait_for(lambda: bool(warnings))
    assert follower._thread.is_alive()
    assert not follower.close()
    (warning,) = warnings
    assert warning.startswith(f"MLflow at {uri} does not take the results: TypeError: ")


def test_a_study_that_is_not_there_is_one_warning(study: Any, uri: str) -> None:
    warnings: list[str] = []
    follower = Follower(study.storage.url, "digit", uri, on_warning=warnings.append)
    follower.start()
    wait_for(lambda: bool(warnings))
    assert not follower.close()
    assert warnings == [
        "MLflow is not followed: study 'digit' has no sweep to follow; see `sweeps list`"
    ]
