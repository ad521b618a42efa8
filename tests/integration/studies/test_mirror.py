"""The mirror of a study's trials, on real databases that others write to."""

from __future__ import annotations

import copy
import math
import random
import threading
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import SuccessiveHalvingPruner
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from studies import Drawn, Finish, Report, StudyStorage, UserError, mirror
from studies.rungs import AshaPruner
from sweeps.pruning import stopped
from tests.conftest import run_sql
from tests.integration.studies.databases import statements

MINIMIZE = [StudyDirection.MINIMIZE]
SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(1e-3, 1.0, log=True),
    "n": IntDistribution(1, 9),
    "c": CategoricalDistribution((None, True, 2, 0.5, "sgd")),
}


def _finished(number: int) -> FrozenTrial:
    return create_trial(
        value=float(number),
        params={"x": 0.5, "n": 3, "c": "sgd"},
        distributions=SPACE,
        user_attrs={"config": {"layers": [1, 2]}, "outcome": "complete"},
        intermediate_values={1: 0.5, 2: math.inf},
    )


class Others:
    """Random writes to one study by plain Optuna and by our batches."""

    def __init__(self, storage: StudyStorage, plain: RDBStorage, study_id: int, seed: int) -> None:
        self.storage, self.plain, self.study_id = storage, plain, study_id
        self.random = random.Random(seed)

    def trials(self, *states: TrialState) -> list[int]:
        return [t._trial_id for t in self.plain.get_all_trials(self.study_id, False, states)]

    def write(self) -> None:
        running = self.trials(TrialState.RUNNING)
        if len(running) < 4:
            self.start()
            return
        trial, step = self.random.choice(running), self.random.randint(1, 4)
        value = self.random.choice((0.5, math.nan, math.inf, self.random.random()))
        writes = (
            lambda: self.plain.set_trial_intermediate_value(trial, step, value),
            lambda: self.storage.report([Report(trial, step, value, {"m": 1.0})]),
            lambda: self.plain.set_trial_user_attr(trial, "note", {"at": [step, value]}),
            lambda: self.storage.set_system_attrs({trial: {"completed_rung_0": 0.25}}),
            lambda: self.plain.set_trial_state_values(trial, TrialState.COMPLETE, [math.inf]),
            lambda: self.storage.finish([Finish(trial, TrialState.PRUNED, [0.5], {"seed": 1})]),
            lambda: self.storage.hand_back(self.study_id, [trial]),
            lambda: self.storage.set_trial_state_values(trial, TrialState.FAIL),
        )
        self.random.choice(writes)()

    def start(self) -> None:
        waiting = self.trials(TrialState.WAITING)
        kind = self.random.random()
        if waiting and kind < 0.5:
            self.plain.set_trial_state_values(waiting[-1], TrialState.RUNNING)
        elif kind < 0.7:
            self.plain.create_new_trial(self.study_id, _finished(1))
        elif kind < 0.8:
            self.plain.create_new_trial(self.study_id, create_trial(state=TrialState.WAITING))
        else:
            trial = self.storage.create_new_trial(self.study_id)
            names = self.random.sample(list(SPACE), 2)
            for name in names:
                self.storage.set_trial_param(trial, name, 1.0, SPACE[name])


def _same(ours: Sequence[FrozenTrial], theirs: Sequence[FrozenTrial]) -> bool:
    return [_plain(trial) for trial in ours] == [_plain(trial) for trial in theirs]


def _plain(trial: FrozenTrial) -> str:
    # as text, since one NaN is not another
    fields = {**trial.__dict__, "intermediate_values": sorted(trial.intermediate_values.items())}
    for name in ("_user_attrs", "_system_attrs"):
        fields[name] = sorted(fields[name].items())
    return repr(fields)


@pytest.mark.parametrize("seed", range(3))
def test_every_look_is_what_optuna_reads(
    storage: StudyStorage, plain: RDBStorage, seed: int
) -> None:
    study_id = storage.create_new_study(MINIMIZE, "shared")
    storage.create_new_trial(storage.create_new_study(MINIMIZE, "another"))
    others = Others(storage, plain, study_id, seed)
    before: list[FrozenTrial] = []
    states = set()
    for _ in range(100):
        others.write()
        copied = copy.deepcopy(before)
        trials = storage.get_all_trials(study_id, deepcopy=False)
        theirs = plain.get_all_trials(study_id)
        assert _same(trials, theirs)
        assert _same(before, copied)  # what was given out did not change
        finished = [number for number, trial in enumerate(before) if trial.state.is_finished()]
        assert all(trials[number] is before[number] for number in finished)
        chosen = others.random.choice(theirs)
        assert _same([storage.get_trial(chosen._trial_id)], [chosen])
        before = trials
        states |= {trial.state for trial in trials}
    assert states == set(TrialState)


def test_a_copy_shares_nothing_with_the_mirror(storage: StudyStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    for number in range(2):
        storage.create_new_trial(study_id, _finished(number))
    first, _ = trials = storage.get_all_trials(study_id)
    assert trials == storage.get_all_trials(study_id, deepcopy=False)
    first.user_attrs["config"]["layers"].append(3)
    first.params["x"] = 0.25
    first.intermediate_values[3] = 0.0
    first.distributions["x"].low = 0.1  # type: ignore[attr-defined]
    first.values.append(1.0)
    again = storage.get_all_trials(study_id, deepcopy=False)[0]
    assert again == storage.get_trial(again._trial_id)
    assert (again.params["x"], again.values) == (0.5, [0.0])
    assert again.user_attrs["config"] == {"layers": [1, 2]}
    assert again.distributions["x"] == SPACE["x"]
    assert again.intermediate_values == {1: 0.5, 2: math.inf}


def test_a_look_reads_what_changed_and_no_more(storage: StudyStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    for number in range(20):
        storage.create_new_trial(study_id, _finished(number))
    counts, looks = [], []
    for step in ("cold", "nothing new", "one new", "open", "ended", "nothing new"):
        if step == "one new":
            trial = storage.create_new_trial(study_id)
        if step == "ended":
            storage.finish([Finish(trial, TrialState.COMPLETE, [1.0])])
        with statements(storage) as said:
            looks.append(storage.get_all_trials(study_id, deepcopy=False))
        counts.append(len([text for text, _ in said if "SELECT" in text]))
    assert counts == [6, 1, 6, 6, 6, 1]
    assert looks[3][20] is looks[2][20]  # read again, and the same
    assert looks[4][20] is not looks[3][20]


def test_a_glance_sees_who_starts_and_ends_and_whom_it_is_told_of(
    storage: StudyStorage, plain: RDBStorage
) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    ids = [storage.create_new_trial(study_id) for _ in range(4)]
    storage.get_all_trials(study_id)
    for trial_id in ids:
        plain.set_trial_intermediate_value(trial_id, 1, 0.5)
    plain.set_trial_state_values(ids[2], TrialState.PRUNED)
    new = plain.create_new_trial(study_id)
    plain.set_trial_intermediate_value(new, 1, 0.25)
    with statements(storage) as said:
        found = storage.glance(study_id, [ids[1]])
    assert len([text for text, _ in said if "SELECT" in text]) == 6
    assert [trial.intermediate_values for trial in found] == [{}, {1: 0.5}, {1: 0.5}, {}, {1: 0.25}]
    assert found[2].state == TrialState.PRUNED
    with statements(storage) as said:
        storage.glance(study_id, ())
    assert len([text for text, _ in said if "SELECT" in text]) == 1
    seen = storage.get_all_trials(study_id, deepcopy=False)
    assert [trial.intermediate_values for trial in seen] == [{1: 0.5}] * 4 + [{1: 0.25}]


def test_a_study_that_others_deleted_is_gone(storage: StudyStorage, plain: RDBStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "gone")
    trial = storage.create_new_trial(study_id, _finished(0))
    assert len(storage.get_all_trials(study_id)) == 1
    plain.delete_study(study_id)
    with pytest.raises(KeyError):
        storage.get_all_trials(study_id)
    with pytest.raises(KeyError):
        storage.get_trial(trial)


@pytest.mark.parametrize("by_us", [True, False])
def test_a_study_that_took_the_ids_of_a_deleted_one_is_read_anew(
    storage: StudyStorage, plain: RDBStorage, by_us: bool
) -> None:
    """SQLite gives the ids of deleted studies and trials out again."""
    study_id = storage.create_new_study(MINIMIZE, "first")
    for number in range(3):
        storage.create_new_trial(study_id, _finished(number))
    running = storage.create_new_trial(study_id)
    old = storage.get_all_trials(study_id, deepcopy=False)
    (storage if by_us else plain).delete_study(study_id)
    again = plain.create_new_study(MINIMIZE, "second")
    for number in range(3):
        trial = plain.create_new_trial(again, _finished(10 + number))
    plain.create_new_trial(again)
    assert (again == study_id) == (trial == running - 1)  # on SQLite both are
    assert storage.get_trial(trial).value == 12.0
    trials = storage.get_all_trials(again, deepcopy=False)
    assert [t.value for t in trials] == [10.0, 11.0, 12.0, None]
    assert _same(trials, plain.get_all_trials(again))
    assert [t.value for t in old] == [0.0, 1.0, 2.0, None]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("lost", [0, 2])
def test_a_study_that_lost_a_trial_by_hand_is_refused(
    storage: StudyStorage, known: bool, lost: int
) -> None:
    """A trial's number is its place in the list, for samplers and pruners too."""
    study_id = storage.create_new_study(MINIMIZE, "torn")
    ids = [storage.create_new_trial(study_id) for _ in range(4)]
    if known:
        assert len(storage.get_all_trials(study_id)) == 4
    run_sql(
        storage.url.render_as_string(hide_password=False),
        f"DELETE FROM trials WHERE trial_id = {ids[lost]}",
    )
    for _ in range(2):
        with pytest.raises(UserError, match="'torn': its trials are not numbered 0, 1, 2"):
            storage.get_all_trials(study_id)
    assert storage.get_trial(ids[3]).number == 3


def test_more_trials_than_a_statement_takes(
    storage: StudyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MOST_IDS", 3)
    study_id = storage.create_new_study(MINIMIZE)
    for size in (1, 6, 10):  # open ones, then finished ones too
        while storage.get_n_trials(study_id) < size:
            storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
        for number in range(5):
            storage.create_new_trial(study_id, _finished(number))
        trials = storage.get_all_trials(study_id)
        assert [trial.number for trial in trials] == list(range(len(trials)))
        assert [trial.value for trial in trials[-5:]] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_failed_look_changes_nothing(storage: StudyStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    storage.create_new_trial(study_id, _finished(0))
    before = storage.get_all_trials(study_id, deepcopy=False)
    storage.create_new_trial(study_id, _finished(1))

    def fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM trial_values" in statement:
            raise OSError("gone")

    event.listen(storage.engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="gone"):
        storage.get_all_trials(study_id)
    event.remove(storage.engine, "before_cursor_execute", fail)
    after = storage.get_all_trials(study_id, deepcopy=False)
    assert after[0] is before[0]
    assert [trial.value for trial in after] == [0.0, 1.0]


def test_many_threads_look_while_one_writes(storage: StudyStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    problems: list[str] = []
    done = threading.Event()

    def look() -> None:
        seen = 0
        while not done.is_set():
            trials = storage.get_all_trials(study_id, deepcopy=False)
            finished = sum(trial.state.is_finished() for trial in trials)
            if [t.number for t in trials] != list(range(len(trials))) or finished < seen:
                problems.append(f"{finished} after {seen}, {len(trials)} trials")
            # one snapshot: the attribute and the state are written in one transaction
            problems.extend(
                f"trial {t.number} is {t.state.name} with {t.user_attrs}"
                for t in trials
                if t.state.is_finished() != ("end" in t.user_attrs)
            )
            seen = finished

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(40):
            trial = storage.create_new_trial(study_id)
            storage.report([Report(trial, 1, 0.5)])
            storage.finish([Finish(trial, TrialState.COMPLETE, [0.5], {"end": number})])
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert [t.user_attrs["end"] for t in storage.get_all_trials(study_id)] == list(range(40))


def test_the_best_trial_is_read_from_the_mirror(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE])
    for number in (1, 5, 3):
        storage.create_new_trial(study_id, _finished(number))
    assert storage.get_best_trial(study_id).number == 1
    assert storage.get_n_trials(study_id, TrialState.COMPLETE) == 3


def test_attributes_of_many_trials_are_refused_where_one_does_not_run(
    storage: StudyStorage,
) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    ended = storage.create_new_trial(study_id, _finished(0))
    runs = storage.create_new_trial(study_id)
    assert storage.set_system_attrs({ended: {"a": 1}, runs: {"a": 1}, 999: {}}) == {ended, 999}
    assert storage.set_system_attrs({runs: {"a": 2, "b": math.inf}}) == set()
    found = [trial.system_attrs for trial in storage.get_all_trials(study_id)]
    assert found == [{}, {"a": 2, "b": math.inf}]


def test_our_rungs_and_optunas_are_one_study(storage: StudyStorage, plain: RDBStorage) -> None:
    """Every other trial is decided by a process with Optuna's pruner, and all as by it alone."""
    alone = optuna.create_study(pruner=SuccessiveHalvingPruner(1, 2))
    ours = optuna.create_study(storage=storage, study_name="rungs", pruner=AshaPruner(1, 2))
    theirs = optuna.load_study(
        storage=plain, study_name="rungs", pruner=SuccessiveHalvingPruner(1, 2)
    )
    rng = random.Random(3)
    levels = [rng.random() for _ in range(24)]
    for _ in levels:
        ours.ask()
        alone.ask()
    running = set(range(len(levels)))
    for step in (1, 2, 3, 4):
        for number in sorted(running):
            trial_id = ours.get_trials(deepcopy=False)[number]._trial_id
            storage.report([Report(trial_id, step, levels[number] / step)])
            alone._storage.set_trial_intermediate_value(number, step, levels[number] / step)
            expected = alone.pruner.prune(alone, alone.trials[number])
            if number % 2:
                stops = theirs.pruner.prune(theirs, theirs.trials[number])
            else:
                stops = number in stopped(ours, storage, [number])
            assert stops == expected
            if stops:
                storage.finish([Finish(trial_id, TrialState.PRUNED)])
                alone.tell(number, state=TrialState.PRUNED)
                running.remove(number)
    assert 0 < len(running) < 12
    assert [t.system_attrs for t in ours.trials] == [t.system_attrs for t in alone.trials]


def test_a_trial_that_is_rewound_leaves_its_rungs(storage: StudyStorage) -> None:
    study = optuna.create_study(storage=storage, pruner=AshaPruner(1, 2))
    numbers = [study.ask().number for _ in range(3)]
    ids = [trial._trial_id for trial in study.trials]
    storage.report([Report(trial_id, 1, float(n)) for n, trial_id in enumerate(ids)])
    assert stopped(study, storage, numbers) == {1, 2}
    storage.hand_back(study._study_id, [ids[0]])
    study.ask()
    storage.draw([Drawn(ids[0], {}, rewind=0)])
    storage.report([Report(ids[0], 1, 0.5)])
    assert stopped(study, storage, [0]) == set()
    assert study.trials[0].system_attrs == {"completed_rung_0": 0.5}
    assert stopped(study, storage, []) == set()


def test_deciding_about_many_trials_is_one_look_and_one_transaction(storage: StudyStorage) -> None:
    counts = []
    for size in (2, 20):
        study = optuna.create_study(storage=storage, pruner=AshaPruner(1, 2))
        numbers = [study.ask().number for _ in range(size)]
        trials = study.get_trials(deepcopy=False)
        storage.report([Report(trial._trial_id, 1, float(trial.number)) for trial in trials])
        with statements(storage) as said:
            assert stopped(study, storage, numbers) == set(numbers[1:])
        counts.append(len([text for text, _ in said if not text.startswith("BEGIN")]))
    locks = 1 if storage.engine.dialect.name == "postgresql" else 0  # SQLite has no row locks
    assert counts == [8 + locks] * 2
