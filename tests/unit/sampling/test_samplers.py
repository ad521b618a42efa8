"""The samplers on real Optuna studies: reproducible, complete, JSON only, away from divergence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from spaces import TWO_KNOBS

from studies import open_storage
from sweeps.grid_points import GRID_INDEX, free_points
from sweeps.sampling import CMA_STATE, make_sampler
from sweeps.space import Space
from sweeps.spec import load_spec
from sweeps.unit_cube import from_unit, to_unit

SpaceOf = Callable[[str], Space]

METHODS = ("tpe", "random", "qmc", "gp", "cmaes")

CONDITIONAL = """
task: iris-mlp
optimizer: [adamw, sgd]
schedule: [cosine, step]
parameters: {hidden: {values: [8, 16]}, depth: {min: 1, max: 3}}
"""


@pytest.fixture
def space_of(tmp_path: Path) -> SpaceOf:
    def read(text: str) -> Space:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_spec(path).space

    return read


def ask(study: optuna.Study, space: Space, method: str, seed: int = 0) -> optuna.Trial:
    study.sampler = make_sampler(method, space, seed)
    trial = study.ask()
    space.suggest(trial)
    return trial


def loss_of(params: dict[str, float]) -> float:
    numbers = [math.log(value) for key, value in params.items() if key.endswith("lr")]
    return (numbers[0] - math.log(0.01)) ** 2


def run(study: optuna.Study, space: Space, method: str, n: int, seed: int = 0) -> list[FrozenTrial]:
    for _ in range(n):
        trial = ask(study, space, method, seed)
        study.tell(trial, loss_of(trial.params))
    return study.get_trials(deepcopy=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_sweep_that_was_interrupted_gives_the_same_trials(space_of: SpaceOf, method: str) -> None:
    space = space_of(CONDITIONAL)
    whole = run(optuna.create_study(), space, method, 24)
    resumed = optuna.create_study()
    run(resumed, space, method, 9)
    reopened = optuna.create_study()
    reopened.add_trials(resumed.trials)
    again = run(reopened, space, method, 15)
    assert [t.params for t in again] == [t.params for t in whole]
    assert [t.params for t in run(optuna.create_study(), space, method, 5, seed=1)] != [
        t.params for t in whole[:5]
    ]


@pytest.mark.parametrize("method", METHODS)
def test_every_branch_is_drawn_with_exactly_its_own_knobs(space_of: SpaceOf, method: str) -> None:
    space = space_of(CONDITIONAL)
    trials = run(optuna.create_study(), space, method, 40)
    for trial in trials:
        assert tuple(trial.params) == space.active(trial.params)
    branches = {(t.params["optimizer"], t.params["schedule"]) for t in trials}
    assert len(branches) == 4


@pytest.mark.parametrize("method", ["tpe", "gp", "cmaes"])
def test_learning_samplers_beat_chance_on_a_bowl(space_of: SpaceOf, method: str) -> None:
    """At random lr lies within a factor of 2 of the optimum in 15 % of trials."""
    space = space_of(TWO_KNOBS)
    trials = run(optuna.create_study(), space, method, 60)
    late = [t.params["lr"] for t in trials[30:]]
    assert sum(0.005 <= lr <= 0.02 for lr in late) / len(late) >= 0.4


def late_divergences(space: Space, *, constraint: bool) -> float:
    """Share of TPE's asks 50 to 99 that diverge, when all but few trials are pruned.

    lr above 0.5 (8 % of the log range) diverges late, after a last finite value that looks good.
    """
    study = optuna.create_study()
    for number in range(100):
        trial = ask(study, space, "tpe")
        loss = loss_of(trial.params)
        diverged = trial.params["lr"] > 0.5
        if constraint:
            trial.set_constraint("diverged", float(diverged))
        trial.report(0.01 if diverged else loss + 1, 9 if diverged else 3)
        if diverged or number % 20:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, loss)
    return sum(t.params["lr"] > 0.5 for t in study.get_trials(deepcopy=False)[50:]) / 50


def test_tpe_leaves_a_late_divergence_because_of_its_constraint(space_of: SpaceOf) -> None:
    space = space_of(TWO_KNOBS)
    assert late_divergences(space, constraint=True) <= 0.05
    assert late_divergences(space, constraint=False) >= 0.2


@pytest.mark.parametrize("method", ["gp", "cmaes"])
def test_gp_and_cmaes_see_a_divergence_as_the_worst_value(space_of: SpaceOf, method: str) -> None:
    """lr above 0.2 (17 % of the log range) diverges; the optimum is at 0.01."""
    space = space_of(TWO_KNOBS)
    study = optuna.create_study()
    for _ in range(80):
        trial = ask(study, space, method)
        if trial.params["lr"] > 0.2:
            trial.set_constraint("diverged", 1.0)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, loss_of(trial.params))
    late = [t.params["lr"] > 0.2 for t in study.get_trials(deepcopy=False)[40:]]
    assert sum(late) / len(late) <= 0.05


def test_qmc_fills_the_space_more_evenly_than_chance(space_of: SpaceOf) -> None:
    """64 Sobol points put exactly 4 into each sixteenth of every dimension."""
    space = space_of(TWO_KNOBS)
    trials = run(optuna.create_study(), space, "qmc", 64)
    for key in ("lr", "weight_decay"):
        distribution = trials[0].distributions[key]
        assert isinstance(distribution, FloatDistribution)
        places = [to_unit(distribution, trial.params[key]) for trial in trials]
        counts, _ = np.histogram(places, bins=16, range=(0, 1))
        assert counts.tolist() == [4] * 16


def test_grid_gives_every_point_once_and_ends(space_of: SpaceOf) -> None:
    space = space_of(
        "task: iris-mlp\nmethod: grid\noptimizer: [sgd, adamw]\nschedule: constant\n"
        "parameters: {lr: {values: [0.1, 0.2]}, sgd: {parameters: {nesterov: {values: [true, "
        "false]}, momentum: {values: [0.5, 0.9]}}}}\n"
    )
    assert space.size() == 2 * 2 * 2 + 2
    study = optuna.create_study()
    for _ in range(10):
        study.tell(ask(study, space, "grid"), 0.0)
    points = [tuple(sorted(t.params.items())) for t in study.get_trials()]
    assert len(set(points)) == 10
    assert free_points(10, study.get_trials()) == []
    with pytest.raises(LookupError, match="all 10 points of the grid have their trial"):
        ask(study, space, "grid")


def test_a_grid_point_whose_trial_is_asked_again_stays_its_own(
    space_of: SpaceOf, tmp_path: Path
) -> None:
    space = space_of("task: iris-mlp\nmethod: grid\nparameters: {lr: {values: [0.1, 0.2, 0.3]}}\n")
    with open_storage(f"sqlite:///{tmp_path}/s.db") as storage:
        study = optuna.create_study(storage=storage, sampler=make_sampler("grid", space, 0))
        first = ask(study, space, "grid")
        second = ask(study, space, "grid")
        storage.hand_back(study._study_id, [first._trial_id])
        storage.set_trial_state_values(first._trial_id, TrialState.RUNNING)
        again = optuna.Trial(study, first._trial_id)
        assert space.suggest(again) == {"lr": 0.1}
        assert second.params == {"lr": 0.2}
        assert ask(study, space, "grid").params == {"lr": 0.3}


def test_a_failed_grid_point_comes_again_last_and_twice_at_most(space_of: SpaceOf) -> None:
    space = space_of("task: iris-mlp\nmethod: grid\nparameters: {lr: {values: [0.1, 0.2, 0.3]}}\n")
    study = optuna.create_study()
    order = []
    for _ in range(5):
        trial = ask(study, space, "grid")
        order.append(trial.params["lr"])
        if trial.params["lr"] == 0.2:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 0.0)
    assert order == [0.1, 0.2, 0.3, 0.2, 0.2]
    assert free_points(3, study.get_trials()) == []


def test_cmaes_state_is_json_and_replays_across_generations(space_of: SpaceOf) -> None:
    space = space_of(TWO_KNOBS)
    trials = run(optuna.create_study(), space, "cmaes", 40)
    states = [trial.system_attrs[CMA_STATE] for trial in trials]
    assert json.loads(json.dumps(states)) == states
    generations = [state["generation"] for state in states]
    # a population of 4 + 3 ln 2 = 6 trials closes each generation
    assert generations == [number // 6 for number in range(40)]
    assert states[6] == {"generation": 1}


def test_grid_keeps_nothing_but_an_index(space_of: SpaceOf) -> None:
    space = space_of("task: iris-mlp\nmethod: grid\nparameters: {lr: {values: [0.1, 0.2]}}\n")
    study = optuna.create_study()
    ask(study, space, "grid")
    assert study.trials[0].system_attrs == {GRID_INDEX: 0}


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (FloatDistribution(1e-4, 1.0, log=True), [1e-4, 3e-3, 0.5]),
        (FloatDistribution(-1.0, 3.0), [-1.0, 0.2, 2.9]),
        (FloatDistribution(0.0, 1.0, step=0.25), [0.0, 0.25, 1.0]),
        (IntDistribution(1, 9), [1, 4, 9]),
        (IntDistribution(2, 64, log=True), [2, 9, 64]),
        (IntDistribution(0, 9, step=3), [0, 3, 9]),
    ],
)
def test_unit_cube_and_back(
    distribution: FloatDistribution | IntDistribution, values: list[float]
) -> None:
    for value in values:
        assert from_unit(distribution, to_unit(distribution, value)) == pytest.approx(value)


def test_discrete_values_get_equal_shares_of_the_unit_interval() -> None:
    middles = (np.arange(600) + 0.5) / 600
    whole = [from_unit(IntDistribution(1, 6), u) for u in middles]
    assert np.bincount(whole, minlength=7)[1:].tolist() == [100] * 6
    names = [from_unit(CategoricalDistribution(["a", "b", "c"]), u) for u in middles]
    assert [names.count(name) for name in "abc"] == [200] * 3
