"""What the registries promise to everything that is read off them: spaces, CLI, docs, tests."""

from __future__ import annotations

import inspect

import pytest

import optimizers
from optimizers import AVERAGES, RULES, SCHEDULES, Average, Hyper, Rule, Schedule, search_space
from optimizers.drop_in import DROP_INS
from optimizers.drop_in.arguments import pick

ENTRIES: dict[str, Rule | Schedule | Average] = {**RULES, **SCHEDULES, **AVERAGES}
KNOBS = [(name, knob) for name, entry in ENTRIES.items() for knob in entry.hypers]


def test_a_name_means_one_thing() -> None:
    assert len(ENTRIES) == len(RULES) + len(SCHEDULES) + len(AVERAGES)
    assert all(name == entry.name for name, entry in ENTRIES.items())


@pytest.mark.parametrize("name", ENTRIES)
def test_names_its_source(name: str) -> None:
    entry = ENTRIES[name]
    assert len(entry.paper) > 10
    assert entry.__doc__
    assert "=" in entry.__doc__, "the formula stands in the docstring"


@pytest.mark.parametrize(("name", "knob"), KNOBS)
def test_hyper_is_sound(name: str, knob: str) -> None:
    hyper: Hyper = ENTRIES[name].hypers[knob]
    for value in (hyper.default, hyper.low, hyper.high):
        hyper.check(knob, value)
    assert hyper.low < hyper.high
    assert hyper.scale in {"linear", "log", "one_minus_log"}
    assert hyper.scale != "log" or hyper.low > 0
    assert hyper.scale != "one_minus_log" or hyper.high < 1
    for bad in (float("nan"), hyper.below):
        with pytest.raises(ValueError, match=rf"{knob} = .* is invalid; it must lie in"):
            hyper.check(knob, bad)


@pytest.mark.parametrize("name", ENTRIES)
def test_search_space_is_the_searched_hypers(name: str) -> None:
    space = search_space(name)
    assert space == {k: h for k, h in ENTRIES[name].hypers.items() if h.searched}
    assert ("lr" in space) == (name in RULES)
    assert "warmup_fraction" not in space or name in SCHEDULES


@pytest.mark.parametrize("name", RULES)
def test_has_a_drop_in_with_the_same_defaults(name: str) -> None:
    drop_in, rule = DROP_INS[name], RULES[name]
    assert drop_in.__name__ == rule.class_name
    assert rule.class_name.lower() == name.replace("_", "")
    assert getattr(optimizers, rule.class_name) is drop_in
    given = {n: p.default for n, p in inspect.signature(drop_in).parameters.items()}
    assert pick(rule, given) == {n: h.default for n, h in rule.hypers.items()}
    assert {s: given[s] for s in rule.switches} == {s: v[0] for s, v in rule.switches.items()}
    assert {s: given[s] for s in rule.options} == {s: getattr(rule, s) for s in rule.options}


@pytest.mark.parametrize("name", RULES)
def test_equal_rules_may_share_an_update(name: str) -> None:
    rule = RULES[name]
    own = {switch: getattr(rule, switch) for switch in rule.options}
    assert rule.switched(own) == rule
    assert hash(rule.switched(own)) == hash(rule)
    for switch, allowed in rule.options.items():
        assert own[switch] in allowed
        for other in set(allowed) - {own[switch]}:
            assert rule.switched({switch: other}) != rule


@pytest.mark.parametrize(
    ("name", "knob", "scale", "low", "high"),
    [
        ("adamw", "lr", "log", 1e-4, 1e-1),
        ("adamw", "beta1", "one_minus_log", 1 - 0.5, 1 - 0.02),
        ("adamw", "beta2", "one_minus_log", 1 - 0.1, 1 - 1e-4),
        ("adamw", "weight_decay", "log", 5e-3, 1.0),
        ("adam", "weight_decay", "log", 1e-6, 1e-2),
        ("nadamw", "beta1", "one_minus_log", 1 - 0.1, 1 - 4e-3),
        ("nadamw", "weight_decay", "log", 5e-3, 1.0),
        ("adadelta", "rho", "one_minus_log", 0.9, 0.99),
        ("adadelta", "eps", "log", 1e-8, 1e-2),
        ("adafactor", "weight_decay", "log", 1e-3, 1.0),
        ("sgd", "lr", "log", 1e-3, 5.0),
        ("sgd", "momentum", "one_minus_log", 1 - 0.3, 1 - 5e-3),
        ("sgd", "weight_decay", "log", 1e-7, 1e-2),
    ],
)
def test_published_spaces(name: str, knob: str, scale: str, low: float, high: float) -> None:
    hyper = search_space(name)[knob]
    assert (hyper.scale, hyper.low, hyper.high) == (scale, pytest.approx(low), pytest.approx(high))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'adamv' is unknown; did you mean 'adamw'.* adam,"):
        search_space("adamv")
