"""One sampler for a refill: apart from each other, off the edge, the same after a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights
from optuna.trial import TrialState
from spaces import TWO_KNOBS

from sweeps.sampling import CMA_STATE, make_sampler, refills
from sweeps.sampling.feasibility import Feasibility
from sweeps.sampling.parzen import Density
from sweeps.space import Space
from sweeps.spec import load_spec
from sweeps.unit_cube import from_unit, places, to_unit


@pytest.fixture
def space(tmp_path: Path) -> Space:
    path = tmp_path / "sweep.yaml"
    path.write_text(TWO_KNOBS)
    return load_spec(path).space


def place(space: Space, params: dict[str, float]) -> float:
    """Where lr stands in its range, 0 to 1."""
    lr = space.flat()["lr"]
    assert isinstance(lr, FloatDistribution)
    return to_unit(lr, params["lr"])


def refill(study: optuna.Study, space: Space, method: str, n: int) -> list[optuna.Trial]:
    study.sampler = make_sampler(method, space, 0)
    asked = [study.ask() for _ in range(n)]
    for trial in asked:
        space.suggest(trial)
    return asked


def train(study: optuna.Study, space: Space, trial: optuna.Trial) -> None:
    """The optimum is at 0.9; beyond 0.95 it diverges."""
    u = place(space, trial.params)
    if u > 0.95:
        trial.set_constraint("diverged", 1.0)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, (u - 0.9) ** 2)


@pytest.mark.parametrize("n", [0, 1, 2, 12, 300, 1100])
def test_the_densities_are_those_of_optuna(n: int) -> None:
    """Up to the constant that the unit cube's scale makes.

    300 points have the ramp of weights, 1100 are three blocks.
    """
    space: dict[str, BaseDistribution] = {
        "a": FloatDistribution(1e-4, 1.0, log=True),
        "b": FloatDistribution(-2.0, 3.0),
        "c": CategoricalDistribution(["x", "y", "z"]),
    }
    rng = np.random.default_rng(n)

    def points(count: int) -> dict[str, list[object]]:
        return {k: [from_unit(d, u) for u in rng.random(count)] for k, d in space.items()}

    def internal(values: dict[str, list[object]]) -> dict[str, np.ndarray]:
        return {k: np.array([d.to_internal_repr(v) for v in values[k]]) for k, d in space.items()}

    def cube(values: dict[str, list[object]]) -> np.ndarray:
        return np.stack([places(d, values[k]) for k, d in space.items()], axis=1)

    known, asked = points(n), points(40)
    theirs = _ParzenEstimator(
        internal(known),
        space,
        _ParzenEstimatorParameters(
            prior_weight=1.0,
            consider_magic_clip=True,
            consider_endpoints=False,
            weights=default_weights,
            multivariate=True,
        ),
    ).log_pdf(internal(asked))
    scale = np.log(np.log(1e4) * 5.0)
    ours = Density(list(space.values()), cube(known)).log_pdf(cube(asked))
    np.testing.assert_allclose(ours - scale, theirs, atol=1e-9)


def test_a_straight_edge_between_two_dimensions_is_found() -> None:
    rng = np.random.default_rng(0)
    dimensions = [FloatDistribution(0.0, 1.0), FloatDistribution(0.0, 1.0)]
    points = rng.random((200, 2))
    model = Feasibility(dimensions, points, (points.sum(axis=1) > 1.6).astype(float))
    fresh = rng.random((1000, 2))
    beyond = fresh.sum(axis=1)
    allowed = model.allowed(fresh)
    assert not allowed[beyond > 1.62].any()
    assert allowed[beyond < 1.5].all()


@pytest.mark.parametrize(
    ("method", "lanes", "count", "early"),
    [
        *[(method, lanes, 160, 40) for method in ("tpe", "cmaes") for lanes in (1, 8)],
        ("gp", 8, 32, 24),  # the more trials, the longer each takes
    ],
)
def test_few_later_asks_lie_beyond_the_edge(
    space: Space, method: str, lanes: int, count: int, early: int
) -> None:
    study = optuna.create_study()
    while len(study.trials) < count:
        for trial in refill(study, space, method, lanes):
            train(study, space, trial)
    trials = study.get_trials(deepcopy=False)
    late = [place(space, trial.params) for trial in trials[early:]]
    assert np.mean([u > 0.95 for u in late]) <= 0.05
    assert min(trial.values[0] for trial in trials if trial.values) < 1e-4


@pytest.mark.parametrize("method", ["random", "tpe", "cmaes"])
def test_asks_of_one_refill_differ_and_do_not_depend_on_the_sampler_s_life(
    space: Space, method: str
) -> None:
    study = optuna.create_study()
    for _ in range(3):
        for trial in refill(study, space, method, 10):
            train(study, space, trial)
    before = study.get_trials()
    again = optuna.create_study()
    again.add_trials(before)
    together = [trial.params for trial in refill(study, space, method, 16)]
    assert len({params["lr"] for params in together}) == 16
    alone = [refill(again, space, method, 1)[0].params for _ in range(16)]
    assert alone == together


def test_a_running_trial_pushes_tpe_s_next_asks_away(space: Space) -> None:
    """Of 40 refills of one, how near is the second ask to the first, with and without it?"""
    near = []
    for shown in (True, False):
        gaps = []
        for seed in range(40):
            study = optuna.create_study()
            for trial in refill(study, space, "random", 12):
                train(study, space, trial)
            study.sampler = make_sampler("tpe", space, seed)
            first = study.ask()
            space.suggest(first)
            if not shown:
                study.tell(first, state=TrialState.FAIL)
            second = study.ask()
            space.suggest(second)
            gaps.append(abs(place(space, first.params) - place(space, second.params)))
        near.append(np.median(gaps))
    assert near[0] > near[1]


def test_what_refills_keep_of_trials_changes_no_draw(space: Space) -> None:
    """They see trials begin, report, end, diverge and fail, and then those of a shorter study."""
    rng = np.random.default_rng(0)
    make = refills("tpe", space, 0)
    for size in (60, 30):
        study = optuna.create_study()
        running: list[optuna.Trial] = []
        for _ in range(size):
            pending = study.ask()
            drawn = []
            for sampler in (make(), make_sampler("tpe", space, 0)):
                frozen = study.get_trials(deepcopy=False)[pending.number]
                drawn.append(sampler.sample_relative(study, frozen, space.flat()))
            assert drawn[0] == drawn[1]
            study.sampler = make_sampler("random", space, pending.number)
            running.append(pending)
            space.suggest(pending)
            trial = running[rng.integers(len(running))]
            trial.report(float(rng.random()), len(study.trials))
            if len(running) > 4:
                running.remove(trial)
                if rng.random() < 0.2:
                    study.tell(trial, state=TrialState.FAIL)
                else:
                    train(study, space, trial)


def test_two_that_close_a_generation_at_once_make_one_history(space: Space) -> None:
    """Both see 7 of 6 that ended; the seventh ended last although its number is lower."""
    study = optuna.create_study()
    first = refill(study, space, "cmaes", 7)
    for trial in [*first[1:], first[0]]:
        train(study, space, trial)
    seen = study.get_trials()
    one, two = refill(study, space, "cmaes", 2)
    states = [study.trials[trial.number].system_attrs[CMA_STATE] for trial in (one, two)]
    assert states == [{"generation": 1}, {"generation": 1}]
    # what the second drew does not depend on the first having been there
    late = optuna.create_study()
    late.add_trials([*seen, optuna.trial.create_trial(state=TrialState.FAIL)])
    assert refill(late, space, "cmaes", 1)[0].params == two.params
    # nor on the seventh having ended
    early = optuna.create_study()
    failed = optuna.trial.create_trial(state=TrialState.FAIL)
    early.add_trials([failed, *seen[1:], failed])
    assert refill(early, space, "cmaes", 1)[0].params == two.params
