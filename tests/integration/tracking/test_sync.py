"""What one pass writes to a real MLflow store, against the study DB and Optuna."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow_reads import LARGEST, assert_agree, child_runs, history, parent_run

from studies import UserError, queries
from sweeps.config import Config
from sweeps.tracking import sync
from tests.integration.studies.databases import set_status


def test_every_outcome_agrees_with_the_study_db_and_optuna(full: Any, uri: str) -> None:
    synced = sync(full.storage, "digits", uri)
    client = MlflowClient(uri)
    runs = child_runs(client)
    assert synced.runs == 6  # the parent and trials 0 to 4
    assert [runs[n].info.status for n in range(5)] == [
        "FINISHED",
        "KILLED",
        "KILLED",
        "FAILED",
        "RUNNING",
    ]
    assert_agree(full, client)
    assert optuna.load_study(study_name="digits", storage=full.storage).best_value == 0.75
    assert history(client, runs[0], "test/accuracy") == [(3, 0.8125)]
    (last,) = (v for s, v in history(client, runs[2], "valid/accuracy") if s == 2)
    assert math.isnan(last)
    assert history(client, runs[2], "valid/loss") == [(1, 0.5), (2, LARGEST)]


def test_tags_name_the_run_and_where_it_comes_from(full: Any, uri: str) -> None:
    sync(full.storage, "digits", uri)
    client = MlflowClient(uri)
    runs, parent = child_runs(client), parent_run(client)
    tags = runs[1].data.tags
    expected = {
        "mlflow.parentRunId": parent.info.run_id,
        "mlflow.runName": "0001 sgd x cosine",
        "mlflow.source.git.commit": "0123abcd",
        "mlflow.source.name": "sweep.yaml",
        "study": "digits",
        "trial": "1",
        "optimizer": "sgd",
        "schedule": "cosine",
        "outcome": "pruned",
        "reason": "pruned at epoch 1",
        "origin": "sampled",
    }
    assert expected.items() <= tags.items()
    assert runs[0].data.tags["origin"] == "baseline"
    assert runs[2].data.tags["diverged_step"] == "88"
    note = runs[2].data.params["note"]
    assert len(note) == 6000
    assert note.endswith("x ... (cut)")


def test_the_parent_sums_the_sweep_up(full: Any, uri: str, tmp_path: Path) -> None:
    full.end(full.train([0.875, 0.5]) and 5, "failed", epochs=1)  # trial 4 (id 5) fails
    set_status(full.storage, full.study_id, "finished")
    sync(full.storage, "digits", uri)
    client = MlflowClient(uri)
    parent = parent_run(client)
    assert parent.info.status == "FINISHED"
    assert history(client, parent, "best/valid/accuracy") == [
        (1, 0.75), (2, 0.75), (3, 0.75), (4, 0.75), (5, 0.875), (6, 0.875),
    ]  # fmt: skip
    assert history(client, parent, "trials/failed") == [(4, 1.0), (6, 2.0)]
    best = queries.leaderboard(full.storage, "digits")[0]
    assert parent.data.params == {
        name: str(value) for name, value in Config.from_json(best.config).flat().items()
    }
    assert parent.data.tags["best.trial"] == str(best.number)
    assert "| 0 | 0.75 | optimizer adamw, lr " in parent.data.tags["mlflow.note.content"]

    folder = tmp_path / "artifacts"
    folder.mkdir()
    local = client.download_artifacts(parent.info.run_id, "", str(folder))
    files = {path.name: path.read_text(encoding="utf-8") for path in Path(local).iterdir()}
    assert files["sweep.yaml"] == "task: digits-mlp  # größer\n"
    board = json.loads(files["leaderboard.json"])
    assert [line["number"] for line in board][:2] == [best.number, 0]
    assert board[1]["params"]["weight_decay"] == 0.1 + 0.2
    lines = files["leaderboard.csv"].splitlines()
    assert "params.lr" in lines[0].split(",")
    assert len(lines) == 1 + 6


def test_artifacts_stand_beside_the_database_and_nothing_in_the_working_folder(
    full: Any, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sync(full.storage, "digits", uri)
    assert list(folder.iterdir()) == []
    run_id = parent_run(MlflowClient(uri)).info.run_id
    assert (tmp_path / "mlartifacts" / run_id / "artifacts" / "sweep.yaml").is_file()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("mlruns", "tracking URI 'mlruns'"),
        ("sqlite:///", "tracking URI 'sqlite:///'"),
        ("ftp://me:secret@host/x", r"tracking URI 'ftp://me:\*\*\*@host/x'"),
    ],
)
def test_a_uri_that_cannot_be_mlflows_is_refused(study: Any, wrong: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        sync(study.storage, "digits", wrong)


def test_a_study_without_a_sweep_is_refused(study: Any, uri: str) -> None:
    optuna.create_study(study_name="plain", storage=study.storage)
    with pytest.raises(UserError, match="study 'plain' has no sweep"):
        sync(study.storage, "plain", uri)


def test_no_fluent_state_is_left(full: Any, uri: str) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    sync(full.storage, "digits", uri)
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before
    kept = MlflowClient(uri).search_experiments(view_type=ViewType.ALL)
    assert {experiment.name for experiment in kept} == {"Default", "digits"}
