"""Plain Optuna and `open_storage` see the same study, whoever wrote it."""

from __future__ import annotations

import logging

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from studies import Finish, Report, StudyStorage, queries


@pytest.mark.usefixtures("study_id")
def test_optuna_reads_what_the_batches_wrote(storage: StudyStorage, plain: RDBStorage) -> None:
    ours = optuna.load_study(study_name="digits", storage=storage)
    trial = ours.ask()
    lr = trial.suggest_float("lr", 1e-4, 0.1, log=True)
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
    storage.report([Report(trial._trial_id, step, step / 8, {"x": 1.0}) for step in (1, 2)])
    storage.finish([Finish(trial._trial_id, TrialState.COMPLETE, [0.25], {"outcome": "complete"})])
    theirs = optuna.load_study(study_name="digits", storage=plain)
    assert theirs.trials == ours.trials
    assert theirs.best_params == {"lr": lr, "optimizer": optimizer}
    assert theirs.trials[0].intermediate_values == {1: 0.125, 2: 0.25}


def test_the_queries_read_what_plain_optuna_wrote(storage: StudyStorage, plain: RDBStorage) -> None:
    theirs = optuna.create_study(study_name="plain", storage=plain, direction="minimize")
    for value in (3.0, 1.0, 2.0):
        trial = theirs.ask()
        trial.suggest_int("n", 1, 9)
        trial.report(value + 1, 1)
        trial.report(value, 2)
        theirs.tell(trial, value)
    theirs.tell(theirs.ask(), state=TrialState.FAIL)
    theirs.ask()

    ours = optuna.load_study(study_name="plain", storage=storage)
    assert ours.trials == theirs.trials
    rows = queries.leaderboard(storage, "plain")
    assert [row.number for row in rows] == [1, 2, 0, 4, 3]
    assert [row.outcome for row in rows] == ["complete"] * 3 + ["running", "failed"]
    assert rows[0].epochs == 2
    assert rows[0].params == theirs.trials[1].params
    assert queries.curves(storage, "plain", [0]) == {0: {"objective": [(1, 4.0), (2, 3.0)]}}
    status = queries.status(storage, "plain")
    assert (status.status, status.best, status.running) == (None, (1, 1.0), 1)
    assert status.outcomes == {"complete": 3, "failed": 1}


def test_ask_report_tell_agree_through_both(
    storage: StudyStorage, plain: RDBStorage, caplog: pytest.LogCaptureFixture
) -> None:
    optuna.logging.enable_propagation()
    caplog.set_level(logging.INFO)
    study = optuna.create_study(
        storage=storage, study_name="asked", sampler=optuna.samplers.TPESampler(seed=1)
    )
    for _ in range(12):
        trial = study.ask()
        x = trial.suggest_float("x", -1.0, 1.0)
        trial.report(x * x, 1)
        study.tell(trial, x * x)
    assert "A new study created" not in caplog.text
    optuna.logging.disable_propagation()

    other = optuna.load_study(study_name="asked", storage=plain)
    assert other.trials == study.trials
    assert [trial.number for trial in other.trials] == list(range(12))
    assert other.best_trial == study.best_trial
