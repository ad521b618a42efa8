"""leaderboard, curves, status, trial and studies on real databases."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from studies import (
    Finish,
    Report,
    StudyStorage,
    SweepRecord,
    UserError,
    create_sweep,
    queries,
    register,
)
from studies.processes import this_process
from tests.integration.studies.databases import set_status, statements

SPACE = {
    "lr": FloatDistribution(1e-4, 0.1, log=True),
    "optimizer": CategoricalDistribution(("adam", "sgd")),
}


def _trial(storage: StudyStorage, study_id: int) -> int:
    template = create_trial(
        state=TrialState.RUNNING, params={"lr": 0.01, "optimizer": "sgd"}, distributions=SPACE
    )
    return storage.create_new_trial(study_id, template)


def _end(trial: int, kind: str, value: float | None, **attrs: Any) -> Finish:
    states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
    values = None if value is None else [value]
    return Finish(trial, states.get(kind, TrialState.PRUNED), values, {"outcome": kind, **attrs})


@pytest.fixture
def filled(storage: StudyStorage, study_id: int) -> StudyStorage:
    """A study with every outcome: 0 diverged, 1-3 complete, 4 pruned, 5 failed, 6 waiting."""
    trials = [_trial(storage, study_id) for _ in range(8)]
    storage.report(
        [Report(trial, step, step / 10, {"valid/loss": 1 / step}) for trial in trials
         for step in (1, 2)]
    )  # fmt: skip
    test = {"test/accuracy": 0.5, "test/loss": math.nan}
    storage.report([Report(trials[2], 3, 0.9, test), Report(trials[2], 2, 0.2, test)])
    config = {"optimizer": "sgd", "hypers": {"lr": 0.01}}
    storage.finish(
        [
            _end(trials[0], "diverged", 1.0, diverged_step=2, seconds=1.5, reason="NaN in loss"),
            _end(trials[1], "complete", 0.7, seconds=2.0, epochs=2, origin="baseline"),
            _end(trials[2], "complete", 0.9, seconds=2.25, epochs=3, config=config, seed=11),
            _end(trials[3], "complete", -math.inf),
            _end(trials[4], "pruned", 0.95, seconds=0.25),
            _end(trials[5], "failed", None, reason="ValueError: no"),
        ]
    )
    storage.hand_back(study_id, [trials[6]])
    return storage


def test_the_leaderboard_is_best_first(filled: StudyStorage) -> None:
    rows = queries.leaderboard(filled, "digits")
    assert [(row.number, row.outcome) for row in rows] == [
        (2, "complete"),
        (1, "complete"),
        (3, "complete"),
        (4, "pruned"),
        (7, "running"),
        (6, "waiting"),
        (0, "diverged"),
        (5, "failed"),
    ]
    best = rows[0]
    assert (best.value, best.state, best.epochs, best.seconds) == (0.9, "COMPLETE", 3, 2.25)
    assert best.params == {"lr": 0.01, "optimizer": "sgd"}
    assert best.config == {"optimizer": "sgd", "hypers": {"lr": 0.01}}
    assert (best.seed, rows[1].origin) == (11, "baseline")
    assert str(best.test) == "{'test/accuracy': 0.5, 'test/loss': nan}"
    assert rows[2].value == -math.inf
    assert (rows[3].epochs, rows[4].epochs, rows[5].epochs) == (2, 2, 2)
    assert (rows[6].reason, rows[6].diverged_step) == ("NaN in loss", 2)
    assert (rows[7].reason, rows[7].value) == ("ValueError: no", None)
    assert queries.leaderboard(filled, "digits", top=2) == rows[:2]


def test_to_minimize_turns_the_leaderboard_round(
    storage: StudyStorage, record: SweepRecord
) -> None:
    study_id = create_sweep(storage, "loss", ["minimize"], record)
    values = (0.5, -math.inf, 0.25, math.inf)
    storage.finish([_end(_trial(storage, study_id), "complete", value) for value in values])
    assert [row.number for row in queries.leaderboard(storage, "loss")] == [1, 2, 0, 3]
    assert queries.status(storage, "loss").best == (1, -math.inf)
    assert queries.studies(storage)[0].best == -math.inf


def test_status_counts_every_trial_once(filled: StudyStorage, study_id: int) -> None:
    set_status(filled, study_id, "running")
    register(filled, study_id, lanes=4)
    status = queries.status(filled, "digits")
    assert (status.trials, status.running, status.waiting) == (8, 1, 1)
    assert status.outcomes == {"complete": 3, "pruned": 1, "diverged": 1, "failed": 1}
    assert (status.best, status.direction, status.metric) == (
        (2, 0.9),
        "maximize",
        "valid/accuracy",
    )
    assert (status.status, status.seconds) == ("running", 6.0)
    (worker,) = status.workers
    assert (worker.process, worker.lanes, worker.leads) == (this_process(), 4, False)
    now = datetime.now(UTC).replace(tzinfo=None)
    assert status.last_activity is not None
    assert abs((now - status.last_activity).total_seconds()) < 60


def test_an_empty_study_has_a_status(storage: StudyStorage, record: SweepRecord) -> None:
    create_sweep(storage, "empty", ["minimize"], record)
    status = queries.status(storage, "empty")
    assert (status.trials, status.best, status.started, status.workers) == (0, None, None, [])
    assert (status.seconds, status.last_activity, status.outcomes) == (0.0, None, {})
    assert queries.leaderboard(storage, "empty") == []
    assert queries.curves(storage, "empty") == {}


def test_one_trial_has_curves_and_attributes(filled: StudyStorage) -> None:
    found = queries.trial(filled, "digits", 2)
    assert found.row == queries.leaderboard(filled, "digits")[0]
    assert found.curves["valid/accuracy"] == [(1, 0.1), (2, 0.2), (3, 0.9)]
    assert found.curves["valid/loss"] == [(1, 1.0), (2, 0.5)]
    assert found.user_attrs["outcome"] == "complete"
    waiting = queries.trial(filled, "digits", 6)
    assert (waiting.row.outcome, waiting.curves["valid/loss"]) == ("waiting", [(1, 1.0), (2, 0.5)])
    with pytest.raises(UserError, match="'digits' has no trial 8"):
        queries.trial(filled, "digits", 8)


def test_curves_of_some_trials_are_of_those_alone(filled: StudyStorage) -> None:
    filled.create_new_trial(filled.get_study_id_from_name("digits"))
    every = queries.curves(filled, "digits")
    assert sorted(every) == list(range(8))
    assert queries.curves(filled, "digits", [1, 4, 8]) == {1: every[1], 4: every[4]}
    assert every[1] == {
        "valid/accuracy": [(1, 0.1), (2, 0.2)],
        "valid/loss": [(1, 1.0), (2, 0.5)],
    }


def test_studies_lists_ours_and_plain_ones(filled: StudyStorage) -> None:
    plain = optuna.create_study(storage=filled, study_name="plain", direction="minimize")
    plain.tell(plain.ask(), 3.0)
    ours, theirs = queries.studies(filled)
    assert (ours.name, ours.status, ours.direction, ours.best) == ("digits", "new", "maximize", 0.9)
    counts = (ours.complete, ours.pruned, ours.failed, ours.running, ours.waiting)
    assert (ours.trials, counts) == (8, (3, 2, 1, 1, 1))
    assert (theirs.name, theirs.status, theirs.trials, theirs.best) == ("plain", None, 1, 3.0)


def test_an_unknown_study_has_its_neighbours_named(filled: StudyStorage) -> None:
    for index in range(12):
        filled.create_new_study([optuna.study.StudyDirection.MINIMIZE], f"other-{index:02}")
    with pytest.raises(UserError) as failed:
        queries.status(filled, "digit")
    assert str(failed.value) == (
        "study 'digit' does not exist; did you mean 'digits'? Known: digits, "
        + ", ".join(f"other-{index:02}" for index in range(9))
        + " and 3 more."
    )


def test_an_unknown_study_in_an_empty_database(storage: StudyStorage) -> None:
    with pytest.raises(UserError, match="the database holds no studies"):
        queries.leaderboard(storage, "digits")
    assert queries.studies(storage) == []


def test_the_number_of_statements_does_not_grow(storage: StudyStorage, record: SweepRecord) -> None:
    counts = []
    for size in (3, 300):
        name = f"of-{size}"
        study_id = create_sweep(storage, name, ["maximize"], record)
        template = create_trial(value=0.5, params={"lr": 0.01, "optimizer": "sgd"},
                                distributions=SPACE, user_attrs={"outcome": "complete"},
                                intermediate_values={1: 0.5})  # fmt: skip
        for _ in range(size):
            storage.create_new_trial(study_id, template)
        with statements(storage) as said:
            sizes = [
                len(queries.leaderboard(storage, name)),
                len(queries.leaderboard(storage, name, top=size)),
                len(queries.curves(storage, name)),
                len(queries.curves(storage, name, range(size))),
                queries.status(storage, name).trials,
                queries.trial(storage, name, size - 1).row.number + 1,
            ]
            queries.studies(storage)
        assert sizes == [size] * 6
        counts.append(len([text for text, _ in said if "SELECT" in text]))
    assert counts == [36, 36]
