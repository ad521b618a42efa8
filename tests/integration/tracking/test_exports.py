"""The rows that say how far MLflow is, on SQLite and PostgreSQL."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from studies import (
    Drawn,
    Finish,
    Report,
    SweepRecord,
    create_sweep,
    exports,
    open_storage,
    unexported,
)
from studies.exports import Export, Step, Target
from tests.integration.studies.databases import hand_all_back


@pytest.fixture
def target(database_url: str) -> Target:
    """A sweep with two running trials of two epochs, and a third that waits."""
    storage = open_storage(database_url)
    record = SweepRecord("", None, {"metric": {"name": "valid/loss"}}, {}, 0, {})
    study_id = create_sweep(storage, "digits", ["minimize"], record)
    study = optuna.load_study(study_name="digits", storage=storage)
    for _ in range(2):
        trial_id = study.ask()._trial_id
        for epoch in (1, 2):
            storage.report([Report(trial_id, epoch, 1 / epoch, {"train/loss": 2.0})])
    study.enqueue_trial({})
    return Target(storage, study_id, "sqlite:////there/mlflow.db")


def ids(target: Target) -> tuple[int, int]:
    """The two running trials."""
    first, second = (item.trial.trial_id for item in pending(target))
    return first, second


def pending(target: Target) -> list[exports.Pending]:
    return unexported.pending(target, "digits", after=0, limit=10)


def test_a_row_goes_from_intent_to_closed(target: Target) -> None:
    first, second = ids(target)
    assert exports.begin(target, [None, first]) == {None, first}
    assert exports.begin(target, [first, second]) == {second}
    assert exports.read(target, None) == Export("", exports.PARENT_UNLINKED, closed=False)
    assert exports.assign(target, first, "run-a")
    assert not exports.assign(target, first, "run-b")  # somebody was faster
    exports.advance(target, first, "run-b", 9, closed=True)  # not its run
    assert exports.read(target, first) == Export("run-a", 0, closed=False)
    exports.advance(target, first, "run-a", 1, closed=False)
    assert exports.run_ids(target) == ["run-a"]

    item, other = pending(target)
    assert item.export == Export("run-a", 1, closed=False)
    assert item.curves == {"valid/loss": [(2, 0.5)], "train/loss": [(2, 2.0)]}
    assert other.curves["valid/loss"] == [(1, 1.0), (2, 0.5)]
    assert [i.trial.trial_id for i in unexported.pending(target, "digits", after=0, limit=1)] == [
        first
    ]

    exports.advance(target, first, "run-a", 2, closed=True)
    assert [item.trial.trial_id for item in pending(target)] == [second]
    exports.forget(target)
    assert exports.read(target, first) == Export("", 0, closed=False)


def test_many_rows_are_settled_at_once(target: Target) -> None:
    first, second = ids(target)
    assert unexported.count(target) == 2
    assert exports.begin(target, [first, second]) == {first, second}
    exports.assign(target, second, "run-b")
    assert exports.settle(target, []) == set()
    lost = exports.settle(
        target,
        [
            Step(first, "", "run-a", 2, closed=True),
            Step(second, "", "run-c", 1, closed=True),  # another process was faster
        ],
    )
    assert lost == {second}
    assert exports.read(target, first) == Export("run-a", 2, closed=True)
    assert exports.read(target, second) == Export("run-b", 0, closed=False)
    assert unexported.count(target) == 1

    steps = [
        Step(first, "run-a", "run-a", 1, closed=False),
        Step(second, "run-b", "run-b", 2, True),
    ]
    assert exports.settle(target, steps) == set()
    assert exports.read(target, first) == Export("run-a", 1, closed=False)
    exports.reset(target, first, "run-a")
    assert exports.settle(target, steps) == {first}  # the row stays an intent
    assert exports.read(target, first) == exports.INTENT


def test_test_metrics_come_after_their_epoch(target: Target) -> None:
    first, _ = ids(target)
    exports.begin(target, [first])
    exports.assign(target, first, "run-a")
    exports.advance(target, first, "run-a", 2, closed=False)
    target.storage.report([Report(first, 2, None, {"test/loss": 0.25})])
    target.storage.finish([Finish(first, TrialState.COMPLETE, [0.5], {"outcome": "complete"})])
    item = pending(target)[0]
    assert item.curves == {"test/loss": [(2, 0.25)]}
    assert (item.trial.state, item.trial.value) == ("COMPLETE", 0.5)


def test_a_trial_that_waits_is_there_with_a_run_or_a_curve(target: Target) -> None:
    first, second = ids(target)
    exports.begin(target, [first, second])
    exports.assign(target, first, "run-a")
    target.storage.draw([Drawn(first, {}, rewind=0)])
    hand_all_back(target.storage, target.study_id)
    found = [(item.trial.state, item.trial.trial_id, item.export) for item in pending(target)]
    assert found == [
        ("WAITING", first, Export("run-a", 0, closed=False)),
        ("WAITING", second, Export("", 0, closed=False)),
    ]
    exports.reset(target, first, "run-a")
    assert [item.trial.trial_id for item in pending(target)] == [second]


def test_stores_do_not_mix(target: Target) -> None:
    first, _ = ids(target)
    exports.begin(target, [None, first])
    exports.assign(target, first, "run-a")
    exports.advance(target, first, "run-a", 2, closed=True)
    other = Target(target.storage, target.study_id, "http://there:5000")
    assert pending(other)[0].export is None
    assert exports.begin(other, [None, first]) == {None, first}
    exports.forget(other)
    assert exports.read(target, first) == Export("run-a", 2, closed=True)
