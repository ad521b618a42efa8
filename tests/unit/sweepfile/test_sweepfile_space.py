"""The search space of real task files: dimensions, draws, known configurations, grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from optimizers import RULES, SCHEDULES
from sweeps.config import Config
from sweeps.space import Space
from sweeps.spec import Spec, load_spec

Load = Callable[[str], Spec]

TWO_BY_TWO = """\
task: digits-mlp
optimizer: [adamw, sgd]
schedule: [cosine, step]
"""
OWN = """\
task: digits-mlp
task_args: {depth: 2}
optimizer: [adamw, sgdw]
schedule: step
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-3, max: 1e-2}
  sgdw: {parameters: {lr: {values: [0.1, 0.2]}, nesterov: {values: [true, false]}}}
  adamw: {parameters: {lr_x_wd: {distribution: log_uniform_values, min: 1e-6, max: 1e-4}}}
  beta2: 0.99
  step_epochs: {min: 2, max: 10}
  hidden: {values: [32, 64]}
  epochs: {values: [10, 20]}
  batch_size: {distribution: q_log_uniform_values, min: 16, max: 64, q: 16}
"""
GRID = """\
task: digits-mlp
method: grid
optimizer: [adamw, sgd]
parameters:
  lr: {values: [0.1, 0.01]}
  sgd: {parameters: {momentum: {distribution: q_uniform, min: 0.4, max: 0.8, q: 0.2}}}
  hidden: {min: 8, max: 10}
"""
EVERYTHING = """\
task: digits-mlp
optimizer: [sgd, sgdw, adam, adamw]
schedule: [constant, step, exponential, cosine, plateau]
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str) -> Spec:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_spec(path)

    return write


def ask_many(space: Space, count: int) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    return [space.suggest(study.ask()) for _ in range(count)]


def as_numbers(space: Space) -> dict[str, tuple[Any, ...]]:
    """Return each dimension as (low, high, log) or as its choices."""
    found: dict[str, tuple[Any, ...]] = {}
    for key, law in space.flat().items():
        if isinstance(law, optuna.distributions.CategoricalDistribution):
            found[key] = law.choices
        else:
            assert isinstance(
                law, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution
            )
            found[key] = (law.low, law.high, law.log)
    return found


def test_one_optimizer_and_schedule_have_bare_names(load: Load) -> None:
    assert as_numbers(load("task: iris-mlp\n").space) == {
        "lr": (1e-4, 1e-1, True),
        "one_minus_beta1": (0.02, 0.5, True),
        "one_minus_beta2": (1e-4, 0.1, True),
        "weight_decay": (5e-3, 1.0, True),
        "warmup_fraction": (0.0, 0.1, False),
    }


def test_several_have_their_prefix_and_their_choice(load: Load) -> None:
    space = load(TWO_BY_TWO).space
    assert space.branching == ("optimizer", "schedule")
    assert as_numbers(space) == {
        "optimizer": ("adamw", "sgd"),
        "schedule": ("cosine", "step"),
        "adamw.lr": (1e-4, 1e-1, True),
        "adamw.one_minus_beta1": (0.02, 0.5, True),
        "adamw.one_minus_beta2": (1e-4, 0.1, True),
        "adamw.weight_decay": (5e-3, 1.0, True),
        "sgd.lr": (1e-3, 5.0, True),
        "sgd.one_minus_momentum": (5e-3, 0.3, True),
        "sgd.weight_decay": (1e-7, 1e-2, True),
        "cosine.warmup_fraction": (0.0, 0.1, False),
        "step.step_fraction": (0.1, 0.5, False),
        "step.gamma": (0.05, 0.5, True),
        "step.warmup_fraction": (0.0, 0.1, False),
    }
    assert space.active({"optimizer": "sgd", "schedule": "cosine"}) == (
        "optimizer",
        "schedule",
        "sgd.lr",
        "sgd.one_minus_momentum",
        "sgd.weight_decay",
        "cosine.warmup_fraction",
    )
    assert space.size() is None


def test_overrides_of_every_kind(load: Load) -> None:
    space = load(OWN).space
    assert as_numbers(space) == {
        "optimizer": ("adamw", "sgdw"),
        "epochs": (10, 20),
        "batch_size_quantile": (1e-6, 1 - 1e-6, False),
        "adamw.lr_x_wd": (1e-6, 1e-4, True),
        "adamw.lr": (1e-3, 1e-2, True),
        "adamw.one_minus_beta1": (0.02, 0.5, True),
        "sgdw.lr": (0.1, 0.2),
        "sgdw.one_minus_momentum": (5e-3, 0.3, True),
        "sgdw.weight_decay": (1e-6, 0.1, True),
        "sgdw.nesterov": (True, False),
        "step_epochs": (2, 10, False),
        "gamma": (0.05, 0.5, True),
        "warmup_fraction": (0.0, 0.1, False),
        "hidden": (32, 64),
    }
    yours = {knob.label for knob in space.knobs if knob.source == "yours"}
    assert yours == {
        "adamw.lr_x_wd", "adamw.lr", "adamw.beta2", "sgdw.lr", "sgdw.nesterov", "step_epochs",
        "hidden", "depth", "epochs", "batch_size",
    }  # fmt: skip


def test_products_and_epochs_are_converted(load: Load) -> None:
    space = load(OWN).space
    sampled = {
        "optimizer": "adamw",
        "epochs": 20,
        "batch_size_quantile": 0.5,
        "adamw.lr_x_wd": 2e-5,
        "adamw.lr": 4e-3,
        "adamw.one_minus_beta1": 0.1,
        "step_epochs": 5,
        "gamma": 0.1,
        "warmup_fraction": 0.05,
        "hidden": 32,
    }
    config = space.config(sampled, epochs=99, batch_size=99)
    assert config == Config(
        optimizer="adamw",
        hypers={"lr": 4e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 2e-5 / 4e-3},
        switches={"amsgrad": False},
        schedule="step",
        schedule_hypers={"step_fraction": 0.25, "gamma": 0.1, "warmup_fraction": 0.05},
        average="none",
        epochs=20,
        batch_size=32,
        task_args={"depth": 2, "hidden": 32},
    )
    coded = space.encode(config)
    assert coded is not None
    assert 0.44 < coded.pop("batch_size_quantile") < 0.65  # the middle of what rounds to 32
    assert coded == pytest.approx({k: v for k, v in sampled.items() if k in coded})
    late = space.config({**sampled, "epochs": 10, "step_epochs": 10}, epochs=1, batch_size=1)
    assert late.schedule_hypers["step_fraction"] == 1.0


@pytest.mark.parametrize("text", [TWO_BY_TWO, OWN, EVERYTHING])
def test_two_hundred_draws_are_whole_configurations_in_range(load: Load, text: str) -> None:
    spec = load(text)
    space = spec.space
    for sampled in ask_many(space, 200):
        assert set(sampled) == set(space.active(sampled))
        config = space.config(sampled, epochs=10, batch_size=32)
        assert config.optimizer in spec.optimizer
        assert config.schedule in spec.schedule
        rule = RULES[config.optimizer]
        assert config.hypers.keys() == rule.hypers.keys()
        assert config.switches.keys() == rule.switches.keys()
        rule.switched(config.switches).check(config.hypers)
        schedule = SCHEDULES[config.schedule]
        assert config.schedule_hypers.keys() == schedule.hypers.keys()
        schedule.check(config.schedule_hypers)
        if text is not OWN:
            for knob, hyper in [*rule.hypers.items(), *schedule.hypers.items()]:
                value = {**config.schedule_hypers, **config.hypers}[knob]
                clash = knob in rule.hypers and knob in schedule.hypers
                assert clash or not hyper.searched or hyper.low <= value <= hyper.high
        coded = space.encode(config)
        assert coded is not None
        again = space.config(coded, epochs=10, batch_size=32)
        assert again.flat() == pytest.approx(config.flat())
        assert Config.from_json(config.to_json()) == config


def test_a_configuration_outside_has_no_sampled_values(load: Load) -> None:
    space = load(OWN).space
    inside = space.config(ask_many(space, 1)[0], epochs=10, batch_size=32)
    assert space.encode(inside) is not None
    assert space.encode(replace(inside, optimizer="adam")) is None
    assert space.encode(replace(inside, schedule="cosine")) is None
    assert space.encode(replace(inside, epochs=11)) is None
    assert space.encode(replace(inside, hypers={**inside.hypers, "lr": 3.0})) is None
    assert space.encode(replace(inside, task_args={"hidden": 32})) is None
    assert space.encode(replace(inside, task_args={"hidden": 32, "depth": 3})) is None


def test_a_grid_has_every_point_of_every_branch(load: Load) -> None:
    space = load(GRID).space
    points = space.grid()
    assert space.size() == len(points) == 2 * 3 + 2 * 3 * 3
    configs = [space.config(point, epochs=1, batch_size=1) for point in points]
    assert len({str(config) for config in configs}) == len(points)
    assert [c.hypers["lr"] for c in configs[:6]] == [0.1] * 3 + [0.01] * 3
    assert [c.task_args["hidden"] for c in configs[:4]] == [8, 9, 10, 8]
    assert {c.hypers["momentum"] for c in configs[6:]} == {0.4, 0.6, 0.8}
    assert {c.hypers["beta1"] for c in configs[:6]} == {0.9}
    assert {c.hypers["weight_decay"] for c in configs[6:]} == {0.0}
    assert {c.schedule_hypers["warmup_fraction"] for c in configs} == {0.0}


def test_a_continuous_space_has_no_grid(load: Load) -> None:
    with pytest.raises(ValueError, match=r"no grid over continuous adamw\.lr, adamw\.beta1"):
        load(TWO_BY_TWO).space.grid()


def test_a_file_of_constants_has_one_point(load: Load) -> None:
    space = load("task: digits-mlp\nmethod: grid\n").space
    assert space.flat() == {}
    assert space.grid() == [{}]
    assert space.config({}, epochs=3, batch_size=8).hypers["lr"] == 1e-3


def test_the_decay_key_changes_every_rules_own(load: Load) -> None:
    spec = load("task: digits-mlp\noptimizer: [sgd, adamw]\ndecay: decoupled\n")
    configs = [spec.space.config(s, epochs=1, batch_size=1) for s in ask_many(spec.space, 20)]
    assert {(c.optimizer, c.switches.get("decay")) for c in configs} == {
        ("sgd", "decoupled"),
        ("adamw", None),
    }


def test_a_name_that_optimizer_and_schedule_share_is_the_optimizers(load: Load) -> None:
    space = load(
        "task: digits-mlp\noptimizer: adam\nschedule: plateau\nparameters:\n"
        "  eps: 1e-6\n  plateau: {parameters: {eps: {min: 0.0, max: 1e-7}}}\n"
    ).space
    config = space.config(ask_many(space, 1)[0], epochs=1, batch_size=1)
    assert config.hypers["eps"] == 1e-6
    assert 0 <= config.schedule_hypers["eps"] <= 1e-7
    assert "plateau.eps" in space.flat()
    assert config.flat()["plateau.eps"] == config.schedule_hypers["eps"]


def test_flat_names_are_those_that_people_use() -> None:
    config = Config(
        "sgd", {"lr": 0.1, "momentum": 0.9}, {"nesterov": True}, "cosine",
        {"warmup_fraction": 0.05}, "none", 30, 32, {"hidden": [64, 32], "lr": 2},
    )  # fmt: skip
    assert config.flat() == {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "schedule": "cosine",
        "warmup_fraction": 0.05,
        "average": "none",
        "epochs": 30,
        "batch_size": 32,
        "hidden": "[64, 32]",
        "task.lr": 2,
    }
