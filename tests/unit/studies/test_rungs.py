"""The pruners of sorted columns decide as Optuna's do, on random studies of every kind."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from studies.rungs import (
    AshaPruner,
    BatchPruner,
    BracketPruner,
    QuantilePruner,
    SortedColumns,
    quantile,
)

PAIRS: dict[str, tuple[Callable[[], BasePruner], Callable[[], BatchPruner]]] = {
    "asha": (lambda: SuccessiveHalvingPruner(1, 2), lambda: AshaPruner(1, 2)),
    "asha of 3": (lambda: SuccessiveHalvingPruner(2, 3), lambda: AshaPruner(2, 3)),
    "hyperband": (lambda: HyperbandPruner(1, 12, 3), lambda: BracketPruner(1, 12, 3)),
    "median": (lambda: MedianPruner(2, 1), lambda: QuantilePruner(50.0, 2, 1)),
    "percentile": (lambda: PercentilePruner(25.0, 0, 2), lambda: QuantilePruner(25.0, 0, 2)),
}
VALUES = (0.0, 0.25, 0.5, 0.5, 0.75, 1.0, math.inf, -math.inf, math.nan)


class Twins:
    """Two studies that are told the same; Optuna's pruner decides in one, ours in the other."""

    def __init__(self, kind: str, direction: str, seed: int) -> None:
        theirs, ours = PAIRS[kind]
        self.theirs, self.ours = (
            optuna.create_study(direction=direction, study_name=kind, pruner=pruner)
            for pruner in (theirs(), ours())
        )
        self.random = random.Random(seed)
        self.running: list[int] = []
        self.decisions = 0

    @property
    def both(self) -> tuple[optuna.Study, optuna.Study]:
        return self.theirs, self.ours

    def start(self) -> None:
        waiting = [
            trial.number
            for trial in self.theirs.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        ]
        kind = self.random.random()
        if waiting and kind < 0.3:
            for study in self.both:
                assert study._storage.set_trial_state_values(waiting[0], TrialState.RUNNING)
            self.running.append(waiting[0])
        elif kind < 0.4:
            finished = create_trial(value=0.5, intermediate_values={1: 0.5, 3: self.value()})
            for study in self.both:
                study.add_trial(finished)
        else:
            self.running.append(self.theirs.ask().number)
            self.ours.ask()

    def value(self) -> float:
        if self.random.random() < 0.6:
            return self.random.choice(VALUES)
        return round(self.random.uniform(-1, 2), 2)

    def report(self) -> None:
        chosen = self.random.sample(self.running, self.random.randint(0, len(self.running)))
        for number in chosen:
            known = self.theirs.get_trials(deepcopy=False)[number].last_step or 0
            step = known + 1 if self.random.random() < 0.8 else self.random.randint(0, 12)
            value = self.value()
            for study in self.both:
                study._storage.set_trial_intermediate_value(number, step, value)
        for number, stop in zip(chosen, self.decide(chosen), strict=True):
            if stop and self.random.random() < 0.8:
                self.end(number, TrialState.PRUNED)

    def decide(self, numbers: list[int]) -> list[bool]:
        self.decisions += len(numbers)
        theirs = [
            self.theirs.pruner.prune(self.theirs, self.theirs.get_trials(deepcopy=False)[number])
            for number in numbers
        ]
        trials = self.ours.get_trials(deepcopy=False)
        pruner = self.ours.pruner
        assert isinstance(pruner, BatchPruner)
        verdicts = pruner.judge(self.ours, trials, [trials[number] for number in numbers])
        for number, verdict in zip(numbers, verdicts, strict=True):
            for key, value in verdict.attrs.items():
                self.ours._storage.set_trial_system_attr(number, key, value)
        assert [verdict.prune for verdict in verdicts] == [bool(stop) for stop in theirs]
        return [verdict.prune for verdict in verdicts]

    def end(self, number: int, state: TrialState) -> None:
        self.running.remove(number)
        values = [0.5] if state == TrialState.COMPLETE else None
        for study in self.both:
            study._storage.set_trial_state_values(number, state, values)

    def play(self, rounds: int) -> None:
        for _ in range(rounds):
            while len(self.running) < 8:
                self.start()
            self.report()
            for number in list(self.running):
                ends = (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL,
                        TrialState.WAITING)  # fmt: skip
                if self.random.random() < 0.12:
                    self.end(number, self.random.choice(ends))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of a curve that is all NaN
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("kind", PAIRS)
def test_every_decision_is_optunas(kind: str, direction: str) -> None:
    decisions = 0
    for seed in range(3):
        twins = Twins(kind, direction, seed)
        twins.play(60)
        decisions += twins.decisions
        theirs, ours = ([t.system_attrs for t in study.trials] for study in twins.both)
        assert ours == theirs
    assert decisions > 500


def test_prune_is_the_same_decision_for_one_trial() -> None:
    lengths = []
    for pruner in (SuccessiveHalvingPruner(1, 2), AshaPruner(1, 2)):
        study = optuna.create_study(pruner=pruner)
        study.optimize(_decaying, n_trials=30)
        lengths.append([(t.last_step, t.system_attrs) for t in study.trials])
    assert lengths[0] == lengths[1]
    assert len({last for last, _ in lengths[0]}) > 2


def _decaying(trial: optuna.Trial) -> float:
    level = ((trial.number * 7) % 11) / 11
    for step in range(1, 10):
        trial.report(level + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return level


def test_tpe_learns_within_a_bracket() -> None:
    study = optuna.create_study(pruner=BracketPruner(1, 9, 3), study_name="brackets")
    study.optimize(_decaying, n_trials=12)
    trial = study.trials[-1]
    filtered = optuna.pruners._filter_study(study, trial).get_trials()
    assert trial in filtered
    assert len(filtered) < 12


@pytest.mark.parametrize(("first", "factor"), [(0, 3), (1, 1)])
def test_rungs_that_never_end_are_refused(first: int, factor: int) -> None:
    with pytest.raises(ValueError, match="give at least 1 and 2"):
        AshaPruner(first, factor)


def test_a_decision_reads_only_the_trials_that_changed() -> None:
    study = optuna.create_study()
    for number in range(50):
        study.add_trial(create_trial(value=0.0, system_attrs={"completed_rung_0": float(number)}))
    read: list[int] = []

    def cells(trial: Any) -> dict[Any, float]:
        read.append(trial.number)
        return trial.system_attrs  # type: ignore[no-any-return]

    columns = SortedColumns()
    columns.update(study.get_trials(deepcopy=False), cells)
    study.ask()
    study._storage.set_trial_system_attr(50, "completed_rung_0", 7.5)
    columns.update(study.get_trials(deepcopy=False), cells)
    columns.put(50, "completed_rung_1", 3.0)
    columns.update(study.get_trials(deepcopy=False), cells)
    assert read == [*range(50), 50, 50]
    assert columns.column("completed_rung_0")[6:10] == [6.0, 7.0, 7.5, 8.0]
    assert columns.column("completed_rung_1") == []
    columns.update(study.get_trials(deepcopy=False)[:3], cells)
    assert columns.column("completed_rung_0") == [0.0, 1.0, 2.0]


def test_quantile_is_numpys_to_the_last_bit() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        column = sorted(rng.choice([rng.random(), 0.5]) for _ in range(rng.randint(1, 12)))
        q = rng.choice([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, rng.random()])
        assert quantile(column, q) == np.quantile(column, q)
    assert math.isnan(quantile([], 0.5))


def test_directions_are_those_of_the_study() -> None:
    study = optuna.create_study(direction="maximize", pruner=AshaPruner(1, 2))
    assert study.direction == StudyDirection.MAXIMIZE
    curves = {0: 0.5, 1: 0.9, 2: 0.1}
    stops = []
    for value in curves.values():
        trial = study.ask()
        trial.report(value, 1)
        stops.append(trial.should_prune())
    assert stops == [False, False, True]
