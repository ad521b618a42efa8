"""Every distribution of the contract: W&B's meaning, drawn by Optuna through a real Space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats

from sweeps.space import Knob, Owner, Space
from sweeps.space.distributions import Categorical, Distribution
from sweeps.spec.distributions import KINDS, read_distribution, stored_distribution
from sweeps.spec.faults import Faults
from sweeps.spec.yaml_lines import Document

DRAWS = 2000
E = math.e

CONTINUOUS: dict[str, tuple[dict[str, Any], Any]] = {
    "bare": ({"min": 0.5, "max": 2}, stats.uniform(0.5, 1.5)),
    "uniform": ({"distribution": "uniform", "min": -1, "max": 1}, stats.uniform(-1, 2)),
    "log_uniform_values": (
        {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1},
        stats.loguniform(1e-4, 0.1),
    ),
    "log_uniform": (
        {"distribution": "log_uniform", "min": -3, "max": 1},
        stats.loguniform(E**-3, E),
    ),
    # log(1 / x) is uniform in [min, max], so that x lies between e^-max and e^-min
    "inv_log_uniform": (
        {"distribution": "inv_log_uniform", "min": 1, "max": 4},
        stats.loguniform(E**-4, E**-1),
    ),
    "inv_log_uniform_values": (
        {"distribution": "inv_log_uniform_values", "min": 0.01, "max": 2},
        stats.loguniform(0.01, 2),
    ),
    "normal": ({"distribution": "normal", "mu": 3, "sigma": 0.5}, stats.norm(3, 0.5)),
    "normal_default": ({"distribution": "normal"}, stats.norm(0, 1)),
    "log_normal": (
        {"distribution": "log_normal", "mu": -2, "sigma": 0.7},
        stats.lognorm(s=0.7, scale=E**-2),
    ),
    "beta": ({"distribution": "beta", "a": 2, "b": 5}, stats.beta(2, 5)),
}
ROUNDED: dict[str, tuple[dict[str, Any], Any, float]] = {
    "q_uniform": (
        {"distribution": "q_uniform", "min": 0, "max": 10, "q": 2},
        stats.uniform(0, 10),
        2,
    ),
    "q_uniform_fraction": (
        {"distribution": "q_uniform", "min": 0.1, "max": 0.9, "q": 0.2},
        stats.uniform(0.1, 0.8),
        0.2,
    ),
    "q_log_uniform_values": (
        {"distribution": "q_log_uniform_values", "min": 1, "max": 20},
        stats.loguniform(1, 20),
        1,
    ),
    "q_log_uniform": (
        {"distribution": "q_log_uniform", "min": 0, "max": 2.5, "q": 0.5},
        stats.loguniform(1, E**2.5),
        0.5,
    ),
    "q_normal": ({"distribution": "q_normal", "mu": 1, "sigma": 3}, stats.norm(1, 3), 1),
    "q_log_normal": (
        {"distribution": "q_log_normal", "mu": 1, "sigma": 0.5},
        stats.lognorm(s=0.5, scale=E),
        1,
    ),
    "q_beta": ({"distribution": "q_beta", "a": 2, "b": 3, "q": 0.25}, stats.beta(2, 3), 0.25),
}
LISTED: dict[str, tuple[dict[str, Any], dict[Any, float]]] = {
    "categorical": ({"values": ["a", "b", True, 4]}, {"a": 0.25, "b": 0.25, True: 0.25, 4: 0.25}),
    "int_uniform": ({"min": 3, "max": 6}, {3: 0.25, 4: 0.25, 5: 0.25, 6: 0.25}),
    "categorical_w_probabilities": (
        {"values": [0, 0.01, 0.1], "probabilities": [0.2, 0.5, 0.3]},
        {0: 0.2, 0.01: 0.5, 0.1: 0.3},
    ),
}
OTHER: dict[str, dict[str, Any]] = {
    "one_minus": {"distribution": "one_minus_log_uniform", "min": 0.8, "max": 0.999},
    "nested": {"values": [[64, 64], {"a": 1}]},
    "constant": {"value": 7},
}


def read(raw: Any) -> Distribution:
    faults = Faults(Document())
    found = read_distribution(raw, ("x",), faults)
    assert found is not None, faults.found
    return found


def every_raw() -> dict[str, dict[str, Any]]:
    shapes = {name: entry[0] for name, entry in (CONTINUOUS | ROUNDED | LISTED).items()}
    return shapes | OTHER


@pytest.fixture(scope="module")
def draws() -> dict[str, list[Any]]:
    """2,000 effective values of every distribution, drawn through Space and Optuna."""
    knobs = tuple(Knob(name, Owner("task"), read(raw)) for name, raw in every_raw().items())
    space = Space(knobs, ("adamw",), ("constant",))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    found: dict[str, list[Any]] = {knob.name: [] for knob in knobs}
    for _ in range(DRAWS):
        config = space.config(space.suggest(study.ask()), epochs=1, batch_size=1)
        for name, value in config.task_args.items():
            found[name].append(value)
    return found


def test_the_tables_hold_every_distribution_of_the_contract() -> None:
    seen = {raw.get("distribution") for raw in every_raw().values()}
    assert set(KINDS) - seen == {
        "categorical",
        "constant",
        "categorical_w_probabilities",
        "int_uniform",
    }


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_draws_follow_scipys(draws: dict[str, list[Any]], name: str) -> None:
    assert stats.kstest(draws[name], CONTINUOUS[name][1].cdf).pvalue > 0.001


def test_one_minus_log_uniform_is_log_uniform_in_one_minus_x(draws: dict[str, list[Any]]) -> None:
    values = 1 - np.array(draws["one_minus"])
    assert stats.kstest(values, stats.loguniform(0.001, 0.2).cdf).pvalue > 0.001
    assert min(draws["one_minus"]) >= 0.8
    assert max(draws["one_minus"]) <= 0.999


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_draws_have_the_mass_of_their_cell(draws: dict[str, list[Any]], name: str) -> None:
    _, law, q = ROUNDED[name]
    steps = np.round(np.array(draws[name]) / q).astype(int)
    assert np.allclose(steps * q, draws[name], rtol=0, atol=1e-9)
    observed, expected = [], []
    for step in range(steps.min(), steps.max() + 1):
        observed.append(int((steps == step).sum()))
        expected.append(law.cdf((step + 0.5) * q) - law.cdf((step - 0.5) * q))
    wide = np.array(expected) * DRAWS >= 5  # chi-square's usual condition; the tails are pooled
    counts = np.append(np.array(observed)[wide], DRAWS - np.array(observed)[wide].sum())
    masses = np.append(np.array(expected)[wide], 1 - np.array(expected)[wide].sum()) * DRAWS
    keep = masses > 1
    assert counts[~keep].sum() <= 10
    scaled = masses[keep] * counts[keep].sum() / masses[keep].sum()
    assert stats.chisquare(counts[keep], scaled).pvalue > 0.001


@pytest.mark.parametrize("name", LISTED)
def test_listed_draws_have_their_probabilities(draws: dict[str, list[Any]], name: str) -> None:
    shares = LISTED[name][1]
    counts = [draws[name].count(value) for value in shares]
    assert sum(counts) == DRAWS
    expected = [share * DRAWS for share in shares.values()]
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_values_keep_their_type(draws: dict[str, list[Any]]) -> None:
    assert {type(value) for value in draws["categorical"]} == {str, bool, int}
    assert {type(value) for value in draws["q_uniform"]} == {int}
    assert {type(value) for value in draws["q_uniform_fraction"]} == {float}
    assert 0.6 in draws["q_uniform_fraction"]  # not 0.6000000000000001
    assert [64, 64] in draws["nested"]
    assert {"a": 1} in draws["nested"]


@pytest.mark.parametrize("name", every_raw())
def test_encode_inverts_effective(draws: dict[str, list[Any]], name: str) -> None:
    distribution = read(every_raw()[name])
    for value in draws[name][:200]:
        again = distribution.effective(distribution.encode(value))
        if isinstance(value, float):
            assert again == pytest.approx(value, rel=1e-9, abs=1e-12)
        else:
            assert again == value


@pytest.mark.parametrize("name", [*CONTINUOUS, "one_minus"])
def test_continuous_samples_come_back_as_they_were(name: str) -> None:
    distribution = read(every_raw()[name])
    law = distribution.optuna()
    assert isinstance(law, optuna.distributions.FloatDistribution)
    for u in (0.01, 0.3, 0.5, 0.77, 0.99):
        sampled = law.low + u * (law.high - law.low)
        assert distribution.encode(distribution.effective(sampled)) == pytest.approx(
            sampled, rel=1e-9
        )


@pytest.mark.parametrize("name", every_raw())
def test_the_stored_form_reads_back_as_the_same(name: str) -> None:
    distribution = read(every_raw()[name])
    assert stored_distribution(distribution.to_json()) == distribution


@pytest.mark.parametrize(
    ("raw", "outside"),
    [
        ({"min": 0.5, "max": 2}, 2.1),
        ({"min": 3, "max": 6}, 3.5),
        ({"min": 3, "max": 6}, True),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 2}, 3),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 2}, 12),
        ({"values": [1, 2]}, True),
        ({"values": [0, 0.1], "probabilities": [0, 1]}, 0),
        ({"distribution": "one_minus_log_uniform", "min": 0.8, "max": 0.9}, 0.95),
        ({"distribution": "log_normal"}, -1.0),
        ({"distribution": "beta"}, 1.5),
        ({"distribution": "normal"}, "three"),
    ],
)
def test_what_is_outside_is_refused(raw: dict[str, Any], outside: Any) -> None:
    with pytest.raises(ValueError, match=r"not|probability"):
        read(raw).encode(outside)


@pytest.mark.parametrize(
    ("raw", "sampled", "described"),
    [
        (0.999, "x", "0.999"),
        ({"values": [64, 128]}, "x", "{64, 128}"),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}, "x", "[1e-4, 0.1] log"),
        (
            {"distribution": "one_minus_log_uniform", "min": 0.8, "max": 0.99},
            "one_minus_x",
            "[0.8, 0.99] log in 1 - x",
        ),
        ({"distribution": "normal"}, "x_quantile", "normal(0, 1)"),
        (
            {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
            "x_quantile",
            "uniform(0, 1) in steps of 0.25",
        ),
        (
            {"values": ["a", "b"], "probabilities": [0.2, 0.8]},
            "x_quantile",
            "{a: 20 %, b: 80 %}",
        ),
    ],
)
def test_names_in_the_study_db_and_words(raw: Any, sampled: str, described: str) -> None:
    distribution = read(raw)
    assert distribution.sampled_name("x") == sampled
    assert distribution.describe() == described


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"min": 3, "max": 3}, 3),
        ({"distribution": "log_uniform", "min": 0, "max": 0}, 1.0),
        ({"distribution": "normal", "mu": 2, "sigma": 0}, 2),
        ({"distribution": "q_normal", "mu": 2.4, "sigma": 0}, 2),
        ({"values": [5], "probabilities": [1]}, 5),
    ],
)
def test_a_distribution_without_width_is_a_constant(raw: dict[str, Any], value: Any) -> None:
    assert read(raw) == Categorical((value,))


def test_grids_are_the_values_that_a_draw_can_take() -> None:
    assert list(read({"min": 3, "max": 6}).grid() or ()) == [3, 4, 5, 6]
    q = {"distribution": "q_uniform", "min": 0.1, "max": 0.9, "q": 0.2}
    assert read(q).grid() == (0.2, 0.4, 0.6, 0.8)  # 0 and 1 only at the very ends
    assert read(q | {"min": 0, "q": 0.25}).grid() == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert read({"min": 0.5, "max": 2}).grid() is None
    assert read({"values": [1, 2], "probabilities": [0.5, 0.5]}).grid() is None
