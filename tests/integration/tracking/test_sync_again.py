"""Later passes: repeated, after a change in the study DB or in the store."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow_reads import assert_agree, child_runs, history, parent_run, rows

from studies import Drawn, cancel_trials, create_sweep, get_sweep, open_storage
from sweeps.retry import retry
from sweeps.tracking import sync
from tests.integration.studies.databases import hand_all_back, set_status

SYNC = """
import sys
from studies import open_storage
from sweeps.tracking import sync
with open_storage(sys.argv[1]) as storage:
    sync(storage, "digits", sys.argv[2])
"""


def test_a_repeat_adds_nothing(full: Any, uri: str, mlflow_db: Path) -> None:
    sync(full.storage, "digits", uri)
    before = rows(mlflow_db), rows(mlflow_db, "SELECT count(*) FROM runs")
    again = sync(full.storage, "digits", uri)
    assert (again.runs, again.metrics) == (0, 0)
    # Everything once more, by a process that has lost its bookkeeping.
    with sqlite3.connect(full.storage.url.database) as connection:
        connection.execute("DELETE FROM exports")
    connection.close()
    assert sync(full.storage, "digits", uri).runs == 0
    assert (rows(mlflow_db), rows(mlflow_db, "SELECT count(*) FROM runs")) == before
    assert_agree(full, MlflowClient(uri))


def test_a_trial_started_anew_has_the_new_curve_only(study: Any, uri: str) -> None:
    trial_id = study.start()
    study.report(trial_id, 1, 0.5)
    study.report(trial_id, 2, 0.625)
    sync(study.storage, "digits", uri)
    client = MlflowClient(uri)
    old = child_runs(client)[0]

    hand_all_back(study.storage, study.study_id)
    sync(study.storage, "digits", uri)
    assert child_runs(client)[0].info.status == "SCHEDULED"

    assert study.start() == trial_id
    study.storage.draw([Drawn(trial_id, {}, rewind=0)])
    study.report(trial_id, 1, 0.25)
    sync(study.storage, "digits", uri)
    new = child_runs(client)[0]
    assert new.info.status == "RUNNING"
    assert history(client, new, "valid/accuracy") == [(1, 0.25)]
    assert client.get_run(old.info.run_id).info.lifecycle_stage == "deleted"

    study.report(trial_id, 2, 0.75)
    study.end(trial_id, "complete", 0.75, epochs=2)
    sync(study.storage, "digits", uri)
    assert child_runs(client)[0].info.run_id == new.info.run_id
    assert_agree(study, client)


def test_cancelled_trials_are_killed_runs_and_a_retry_names_its_first(study: Any, uri: str) -> None:
    study.report(study.start(), 1, 0.5)
    sync(study.storage, "digits", uri)
    study.study.enqueue_trial({"lr": 0.01})
    assert cancel_trials(study.storage, "digits", [0, 1]) == [0, 1]
    ((_, new),) = retry(study.storage, "digits", [0])
    study.end(study.start(), "complete", 0.5)
    sync(study.storage, "digits", uri)
    client = MlflowClient(uri)
    runs = child_runs(client)
    assert {number: run.info.status for number, run in runs.items()} == {0: "KILLED", 2: "FINISHED"}
    assert runs[0].data.tags["outcome"] == "cancelled"
    assert history(client, runs[0], "valid/accuracy") == [(1, 0.5)]
    assert (new, runs[2].data.tags["retry_of"]) == (2, "0")


def test_a_budget_raised_later_changes_the_best(study: Any, uri: str) -> None:
    study.train([0.5])
    set_status(study.storage, study.study_id, "finished")
    sync(study.storage, "digits", uri)
    client = MlflowClient(uri)
    first = parent_run(client)
    set_status(study.storage, study.study_id, "running")
    sync(study.storage, "digits", uri)
    assert parent_run(client).info.status == "RUNNING"
    study.train([0.75], optimizer="sgd")
    set_status(study.storage, study.study_id, "finished")
    sync(study.storage, "digits", uri)
    parent = parent_run(client)
    assert (first.data.params["optimizer"], parent.data.params["optimizer"]) == ("adamw", "sgd")
    assert history(client, parent, "best/valid/accuracy") == [(1, 0.5), (2, 0.75)]
    parents = {run.data.tags["mlflow.parentRunId"] for run in child_runs(client).values()}
    assert parents == {parent.info.run_id}


def test_a_deleted_experiment_comes_back(full: Any, uri: str, mlflow_db: Path) -> None:
    sync(full.storage, "digits", uri)
    client = MlflowClient(uri)
    count = rows(mlflow_db)
    client.delete_experiment(client.get_experiment_by_name("digits").experiment_id)
    sync(full.storage, "digits", uri)
    assert_agree(full, client)
    assert rows(mlflow_db) == count


def test_an_empty_store_at_the_same_address_is_filled_again(
    full: Any, tmp_path: Path, empty_mlflow: bytes
) -> None:
    set_status(full.storage, full.study_id, "drained")
    # MLflow keeps one engine a URI in a process, so the file changes between two processes.
    path = tmp_path / "mlflow.db"
    command = [sys.executable, "-W", "ignore", "-c", SYNC]
    path.write_bytes(empty_mlflow)
    subprocess.run([*command, str(full.storage.url), f"sqlite:///{path}"], check=True)
    path.write_bytes(empty_mlflow)
    assert sync(full.storage, "digits", f"sqlite:///{path}").runs == 6
    client = MlflowClient(f"sqlite:///{path}")
    assert_agree(full, client)
    assert parent_run(client).info.status == "KILLED"


def test_two_sweeps_of_one_name_do_not_mix(full: Any, uri: str, tmp_path: Path) -> None:
    record = get_sweep(full.storage, "digits").record
    sync(full.storage, "digits", uri)
    with open_storage(f"sqlite:///{tmp_path / 'other.db'}") as other:
        create_sweep(other, "digits", ["maximize"], record)
        assert sync(other, "digits", uri).runs == 1  # its own parent
    client = MlflowClient(uri)
    assert_agree(full, client)
