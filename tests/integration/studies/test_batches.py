"""report, finish and hand_back on real databases, read back through Optuna and by SQL."""

from __future__ import annotations

import math
import threading

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import select
from sqlalchemy.exc import DataError

from studies import Drawn, Finish, Report, StudyStorage, queries, schema
from tests.integration.studies.databases import hand_all_back

INF = math.inf


def _points(storage: StudyStorage) -> dict[tuple[int, str, int], float | None]:
    with storage.engine.connect() as connection:
        rows = connection.execute(select(schema.points)).all()
    return {(row.trial_id, row.name, row.step): row.value for row in rows}


def test_a_report_keeps_nan_and_infinities(storage: StudyStorage, study_id: int) -> None:
    a, b = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
    refused = storage.report(
        [
            Report(a, 1, 0.25, {"train/loss": math.nan, "valid/loss": INF}),
            Report(a, 2, math.nan, {"train/loss": -INF}),
            Report(b, 1, INF),
            Report(b, 2, -INF),
            Report(b, 3, None, {"train/loss": 1e-300}),
        ]
    )
    assert refused == set()
    assert str(storage.get_trial(a).intermediate_values) == "{1: 0.25, 2: nan}"
    assert storage.get_trial(b).intermediate_values == {1: INF, 2: -INF}
    assert _points(storage) == {
        (a, "train/loss", 1): None,
        (a, "valid/loss", 1): INF,
        (a, "train/loss", 2): -INF,
        (b, "train/loss", 3): 1e-300,
    }
    read = queries.curves(storage, "digits")
    assert math.isnan(read[0]["train/loss"][0][1])
    assert read[0]["valid/loss"] == [(1, INF)]
    assert read[1]["valid/accuracy"] == [(1, INF), (2, -INF)]


def test_a_repeated_step_is_overwritten(storage: StudyStorage, study_id: int) -> None:
    trial = storage.create_new_trial(study_id)
    storage.report([Report(trial, 1, 0.5, {"valid/loss": 2.0})])
    storage.report([Report(trial, 1, 0.75, {"valid/loss": 1.0}), Report(trial, 2, math.nan)])
    storage.report([Report(trial, 2, 0.875)])
    assert storage.get_trial(trial).intermediate_values == {1: 0.75, 2: 0.875}
    assert _points(storage) == {(trial, "valid/loss", 1): 1.0}


def test_of_two_values_for_one_step_in_a_call_the_last_counts(
    storage: StudyStorage, study_id: int
) -> None:
    trial = storage.create_new_trial(study_id)
    twice = [Report(trial, 1, value, {"valid/loss": value}) for value in (0.5, 0.25)]
    assert storage.report([*twice, Report(trial, 2, 0.125)]) == set()
    assert storage.get_trial(trial).intermediate_values == {1: 0.25, 2: 0.125}
    assert _points(storage) == {(trial, "valid/loss", 1): 0.25}


def test_any_text_is_kept_as_it_is(storage: StudyStorage, study_id: int) -> None:
    texts = ("NULL", "", "{a,b}", 'a "quoted" \\ name', "two\nlines", "%s ? :x", "größe 漢")
    trial = storage.create_new_trial(study_id)
    storage.report([Report(trial, 1, None, dict.fromkeys(texts, 1 / 3))])
    assert _points(storage) == {(trial, text, 1): 1 / 3 for text in texts}
    storage.finish([Finish(trial, TrialState.FAIL, None, {text: text for text in texts})])
    assert storage.get_trial(trial).user_attrs == {text: text for text in texts}


def test_a_name_that_is_too_long_is_refused_or_kept_but_never_cut(
    storage: StudyStorage, study_id: int
) -> None:
    trial, name = storage.create_new_trial(study_id), "n" * 256
    if storage.engine.dialect.name == "postgresql":
        with pytest.raises(DataError, match="too long"):
            storage.report([Report(trial, 1, None, {name: 0.5})])
        assert _points(storage) == {}
    else:  # SQLite knows no lengths
        storage.report([Report(trial, 1, None, {name: 0.5})])
        assert _points(storage) == {(trial, name, 1): 0.5}


def test_finish_writes_all_of_a_trial_once(storage: StudyStorage, study_id: int) -> None:
    done, pruned, waiting = (storage.create_new_trial(study_id) for _ in range(3))
    storage.hand_back(study_id, [waiting])
    storage.set_trial_user_attr(done, "outcome", "old")
    first = Finish(
        done, TrialState.COMPLETE, [0.97], {"outcome": "complete", "reason": "ünïcode"}, {"a": [1]}
    )
    diverged = {"constraints:diverged": 1.0}
    other = Finish(pruned, TrialState.PRUNED, (-INF,), system_attrs=diverged)
    assert storage.finish([first, other, Finish(waiting, TrialState.FAIL)]) == {waiting}

    again = Finish(done, TrialState.FAIL, None, {"outcome": "failed", "late": 1})
    assert storage.finish([again]) == {done}
    assert storage.report([Report(done, 9, 0.1, {"x": 1.0})]) == {done}

    read = storage.get_trial(done)
    assert (read.state, read.values) == (TrialState.COMPLETE, [0.97])
    assert read.user_attrs == {"outcome": "complete", "reason": "ünïcode"}
    assert read.system_attrs == {"a": [1]}
    assert read.datetime_start is not None
    assert read.datetime_complete is not None
    assert abs((read.datetime_complete - read.datetime_start).total_seconds()) < 60
    assert storage.get_trial(pruned).values == [-INF]
    assert storage.get_trial(pruned).system_attrs == diverged
    assert storage.get_trial(waiting).state == TrialState.WAITING
    assert _points(storage) == {}


@pytest.mark.parametrize(
    ("finish", "says"),
    [
        (Finish(1, TrialState.RUNNING), "RUNNING"),
        (Finish(1, TrialState.COMPLETE), "needs values"),
        (Finish(1, TrialState.COMPLETE, [math.nan]), "NaN"),
    ],
)
def test_finish_refuses_what_no_trial_can_be(
    storage: StudyStorage, study_id: int, finish: Finish, says: str
) -> None:
    trial = storage.create_new_trial(study_id)
    with pytest.raises(ValueError, match=says):
        storage.finish([Finish(trial, TrialState.FAIL), finish])
    assert storage.get_trial(trial).state == TrialState.RUNNING


def test_one_bad_row_undoes_the_whole_call(storage: StudyStorage, study_id: int) -> None:
    trial = storage.create_new_trial(study_id)
    circular: list[object] = []
    circular.append(circular)
    good = Report(trial, 1, 0.5, {"valid/loss": 1.0})
    bad = Report(trial, 2, 0.5, {"valid/loss": None})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        storage.report([good, bad])
    with pytest.raises(ValueError, match="Circular"):
        storage.finish([Finish(trial, TrialState.FAIL, None, {"a": 1}, {"b": circular})])
    read = storage.get_trial(trial)
    assert (read.state, read.intermediate_values, read.user_attrs) == (TrialState.RUNNING, {}, {})
    assert _points(storage) == {}


def test_hand_back_forgets_the_parameters_of_a_trial_that_was_still_being_drawn(
    storage: StudyStorage, study_id: int
) -> None:
    study = optuna.load_study(study_name="digits", storage=storage)
    half, whole = study.ask(), study.ask()
    half.suggest_float("lr", 1e-4, 0.1, log=True)
    whole.suggest_float("lr", 1e-4, 0.1, log=True)
    whole.set_user_attr("config", {})
    assert hand_all_back(storage, study_id) == [0, 1]
    assert [sorted(trial.params) for trial in study.get_trials()] == [[], ["lr"]]


def test_hand_back_keeps_what_a_trial_has_reached(storage: StudyStorage, study_id: int) -> None:
    study = optuna.load_study(study_name="digits", storage=storage)
    kept, back, done, new = (study.ask() for _ in range(4))
    lr = back.suggest_float("lr", 1e-4, 0.1, log=True)
    back.set_user_attr("config", {"lr": lr})
    back.storage.set_trial_system_attr(back._trial_id, "completed_rung_0", 0.5)
    for trial in (kept, back, done):
        storage.report([Report(trial._trial_id, 1, 0.5, {"valid/loss": 1.0})])
    study.tell(done, 0.5)
    began = storage.get_trial(back._trial_id).datetime_start

    ids = [back._trial_id, done._trial_id, new._trial_id]
    assert storage.hand_back(study_id, ids) == [1, 3]
    frozen = storage.get_trial(back._trial_id)
    assert (frozen.number, frozen.state) == (1, TrialState.WAITING)
    assert (frozen.params, frozen.user_attrs) == ({"lr": lr}, {"config": {"lr": lr}})
    assert frozen.system_attrs == {"completed_rung_0": 0.5}
    assert (frozen.intermediate_values, frozen.datetime_start) == ({1: 0.5}, began)
    assert storage.get_trial(new._trial_id).datetime_start is None
    assert {key[0] for key in _points(storage)} == {kept._trial_id, *ids[:2]}

    again = study.ask()
    assert (again.number, again.suggest_float("lr", 1e-4, 0.1, log=True)) == (1, lr)
    assert hand_all_back(storage, study_id) == [0, 1]
    assert hand_all_back(storage, study_id) == []


@pytest.mark.parametrize(
    ("step", "curve", "rungs", "moved"),
    [
        (4, {1: 0.5, 2: INF, 3: 0.75, 4: 0.25}, {"completed_rung_0", "completed_rung_1"}, False),
        (2, {1: 0.5, 2: INF}, {"completed_rung_0"}, True),
        (0, {}, set(), True),
    ],
)
def test_a_rewound_trial_has_reached_no_more_than_that(
    storage: StudyStorage,
    study_id: int,
    step: int,
    curve: dict[int, float],
    rungs: set[str],
    moved: bool,
) -> None:
    trial, other = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
    values = (0.5, INF, 0.75, 0.25)
    for at, value in enumerate(values, start=1):
        rows = [Report(each, at, value, {"valid/loss": -value}) for each in (trial, other)]
        assert storage.report(rows) == set()
    storage.report([Report(trial, 4, None, {"test/loss": 1.0})])
    attrs = {"completed_rung_0": INF, "completed_rung_1": 0.75, "completedXrung_0": 9.0}
    assert storage.set_system_attrs({trial: attrs, other: attrs}) == set()
    before, untouched = storage.get_trial(trial), storage.get_trial(other)

    assert storage.draw([Drawn(trial, {}, {"b": 1}, rewind=step)]) == set()
    now = storage.get_trial(trial)
    assert now.intermediate_values == curve
    assert set(now.system_attrs) == rungs | {"completedXrung_0"}
    assert now.user_attrs == {"b": 1}
    assert (now.datetime_start != before.datetime_start) is moved
    losses = {at for id_, name, at in _points(storage) if (id_, name) == (trial, "valid/loss")}
    assert losses == set(curve)
    assert ((trial, "test/loss", 4) in _points(storage)) is not moved
    assert storage.get_trial(other) == untouched


def test_the_cache_follows_batch_writes(storage: StudyStorage, study_id: int) -> None:
    first, second = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
    assert len(storage.get_all_trials(study_id)) == 2
    storage.report([Report(first, 1, 0.5)])
    assert storage.get_all_trials(study_id)[0].intermediate_values == {1: 0.5}
    storage.finish([Finish(second, TrialState.COMPLETE, [0.9])])
    assert storage.get_all_trials(study_id)[1].values == [0.9]
    storage.report([Report(first, 2, 0.75)])
    hand_all_back(storage, study_id)
    assert storage.get_all_trials(study_id)[0].state == TrialState.WAITING
    assert storage.set_trial_state_values(first, TrialState.RUNNING)
    storage.finish([Finish(first, TrialState.COMPLETE, [0.95])])
    assert [trial.values for trial in storage.get_all_trials(study_id)] == [[0.95], [0.9]]
    assert storage.get_best_trial(study_id).number == 0


def test_threads_never_take_one_waiting_trial_twice(storage: StudyStorage, study_id: int) -> None:
    template = optuna.trial.create_trial(state=TrialState.WAITING)
    trials = [storage.create_new_trial(study_id, template) for _ in range(40)]
    taken: list[int] = []
    start = threading.Barrier(4)

    def take() -> None:
        start.wait()
        for trial in trials:
            if storage.set_trial_state_values(trial, TrialState.RUNNING):
                taken.append(trial)
        storage.remove_session()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == trials


def test_a_study_deleted_by_plain_optuna_takes_our_rows_along(
    storage: StudyStorage, study_id: int
) -> None:
    trial = storage.create_new_trial(study_id)
    storage.report([Report(trial, 1, 0.5, {"valid/loss": 1.0})])
    run = {"tracking_uri": "sqlite:///m.db", "run_id": "r", "last_step": 0, "closed": False}
    with storage.engine.begin() as connection:
        connection.execute(schema.exports.insert().values(study_id=study_id, **run))
        connection.execute(schema.exports.insert().values(study_id=study_id, trial_id=trial, **run))
    plain = optuna.storages.RDBStorage(storage.url.render_as_string(hide_password=False))
    optuna.delete_study(study_name="digits", storage=plain)
    plain.remove_session()
    plain.engine.dispose()
    with storage.engine.connect() as connection:
        for table in schema.metadata.tables.values():
            assert connection.execute(select(table)).all() == []
