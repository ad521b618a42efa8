"""`average:` in task files: its sub-spaces, its names, known configurations with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from optimizers import AVERAGES
from sweeps.config import Config
from sweeps.preview import STEPS, draw, samples_of, schedule_curve
from sweeps.spec import Spec, load_spec
from sweeps.spec.meaning import differences
from sweeps.summary import yaml_text

Load = Callable[[str], Spec]

ALL = """\
task: digits-mlp
average: [none, swa, ema, ema_warmup]
parameters:
  decay: {values: [l2, decoupled]}
  swa: {parameters: {start: 0.8, frequency: {values: [1, 5]}}}
  ema: {parameters: {decay: {distribution: one_minus_log_uniform, min: 0.5, max: 0.75}}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str) -> Spec:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_spec(path)

    return write


def draws(spec: Spec, count: int = 60) -> list[tuple[dict[str, Any], Config]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    points = [spec.space.suggest(study.ask()) for _ in range(count)]
    return [(point, spec.space.config(point, epochs=10, batch_size=32)) for point in points]


def own_dimensions(spec: Spec) -> set[str]:
    plain = {"lr", "one_minus_beta1", "one_minus_beta2", "weight_decay", "warmup_fraction"}
    return {*spec.space.flat()} - plain


def test_each_brings_its_knobs_with_its_name_in_front(load: Load) -> None:
    spec = load(ALL)
    assert spec.average == ("none", "swa", "ema", "ema_warmup")
    assert spec.space.branching == ("average",)
    assert own_dimensions(spec) == {
        "average",
        "decay",
        "swa.swa_lr",
        "swa.frequency",
        "ema.one_minus_decay",
        "ema_warmup.one_minus_decay",
    }
    fixed = {k.label: k.distribution.first() for k in spec.space.knobs if not k.searched}
    assert (fixed["swa.start"], fixed["swa.anneal"], fixed["ema.start"]) == (0.8, 0.05, 0.0)
    yours = {k.label for k in spec.space.knobs if k.source == "yours"}
    assert yours == {"decay", "swa.start", "swa.frequency", "ema.decay"}


@pytest.mark.parametrize("text", ["average: ema\n", "parameters: {average: ema}\n"])
def test_a_single_one_has_its_prefix_too(load: Load, text: str) -> None:
    spec = load(f"task: digits-mlp\n{text}")
    assert own_dimensions(spec) == {"ema.one_minus_decay"}
    assert spec.space.branching == ()
    (_, config), *_ = draws(spec, 1)
    assert config.average == "ema"
    assert 0.9 <= config.average_hypers["decay"] <= 0.9999


def test_draws_are_whole_and_read_back(load: Load) -> None:
    spec = load(ALL)
    seen = set()
    for sampled, config in draws(spec):
        seen.add(config.average)
        own = AVERAGES[config.average].hypers if config.average != "none" else {}
        assert config.average_hypers.keys() == own.keys()
        if own:
            AVERAGES[config.average].check(config.average_hypers)
        assert config.switches["decay"] in ("l2", "decoupled")
        assert spec.space.active(sampled) == tuple(sampled)
        coded = spec.space.encode(config)
        assert coded == pytest.approx(sampled)
        flat = config.flat()
        assert flat["decay"] == config.switches["decay"]
        assert {n for n in flat if n.startswith(f"{config.average}.")} == {
            f"{config.average}.{name}" for name in own
        }
        assert Config.from_json(config.to_json()) == config
    assert seen == {"none", *AVERAGES}


def test_another_average_or_knob_is_not_in_the_space(load: Load) -> None:
    spec = load("task: digits-mlp\naverage: [none, swa]\n")
    config = next(c for _, c in draws(spec) if c.average == "swa")
    assert spec.space.encode(config) is not None
    assert spec.space.encode(replace(config, average="ema")) is None
    later = {**config.average_hypers, "start": 0.4}
    assert spec.space.encode(replace(config, average_hypers=later)) is None
    assert spec.space.encode(replace(config, average_hypers={})) is None


def test_a_grid_has_the_points_of_each(load: Load) -> None:
    text = "task: digits-mlp\nmethod: grid\naverage: [none, swa, ema]\nparameters:\n"
    text += (
        "  lr: {values: [0.1, 0.01]}\n  ema: {parameters: {decay: {values: [0.5, 0.9, 0.99]}}}\n"
    )
    spec = load(text)
    configs = [spec.space.config(p, epochs=1, batch_size=1) for p in spec.space.grid()]
    assert spec.space.size() == len(configs) == 2 * (1 + 1 + 3)
    assert len({str(config) for config in configs}) == len(configs)
    assert {c.average_hypers.get("swa_lr") for c in configs} == {None, 0.5}


def test_a_configuration_stored_before_there_were_averages_is_read() -> None:
    config = Config("sgd", {"lr": 0.1}, {}, "constant", {}, "none", 3, 8)
    stored = asdict(config)
    del stored["average_hypers"]
    assert Config.from_json(stored) == config
    assert config.title == "sgd x constant"
    assert replace(config, average="swa").title == "sgd x constant x swa"


def test_known_configurations_have_published_knobs_or_given_ones(load: Load) -> None:
    spec = load(
        "task: digits-mlp\nbaseline: {average: swa}\nenqueue:\n"
        "- {average: ema, ema.decay: 0.9, decay: l2}\n- {}\n"
    )
    first = spec.baseline_config(epochs=3, batch_size=8)
    assert first is not None
    published = {"start": 0.75, "swa_lr": 0.5, "anneal": 0.05, "frequency": 1}
    assert (first.average, first.average_hypers) == ("swa", published)
    ema, none = spec.enqueue_configs(epochs=3, batch_size=8)
    assert (ema.average, ema.average_hypers) == ("ema", {"decay": 0.9, "start": 0.0})
    assert ema.switches["decay"] == "l2"
    assert (none.average, none.average_hypers) == ("none", {})


@pytest.mark.parametrize("task_args", ["", "task_args: {start: 3, decay: 4, swa: 5}\n"])
@pytest.mark.parametrize("average", AVERAGES)
def test_the_pasted_yaml_is_the_same_configuration(
    load: Load, tmp_path: Path, average: str, task_args: str
) -> None:
    (tmp_path / "mine.py").write_text("def make(start=1, decay=2, swa=3, hidden=4):\n    pass\n")
    task = f"task: mine.py:make\n{task_args}"
    (_, best), *_ = draws(load(f"{task}average: [none, {average}]\nenqueue: []\n"), 1)
    if best.average == "none":
        own = {name: hyper.default for name, hyper in AVERAGES[average].hypers.items()}
        best = replace(best, average=average, average_hypers=own)
    text = yaml_text(best)
    assert f"  {average}.start: " in text
    again = load(task + text).baseline_config(epochs=1, batch_size=1)
    assert again is not None
    assert again.average == average
    assert again.average_hypers == pytest.approx(best.average_hypers, rel=1e-5)
    assert again.task_args == best.task_args


def test_a_study_of_other_averages_is_another_study(load: Load) -> None:
    before, now = load("task: digits-mlp\n"), load("task: digits-mlp\naverage: [none, ema]\n")
    assert differences(before.meaning(), now.meaning()) == ["average: none -> none, ema"]
    other = load(
        "task: digits-mlp\naverage: [none, ema]\nparameters: {ema: {parameters: {decay: 0.9}}}\n"
    )
    [change] = differences(now.meaning(), other.meaning())
    assert change.startswith("ema.decay: ")


def test_the_preview_draws_the_rate_that_an_average_sets(load: Load) -> None:
    spec = load("task: digits-mlp\naverage: [none, swa, ema]\nschedule: constant\n")
    own = {"start": 0.5, "swa_lr": 0.3, "anneal": 0.0, "frequency": 1.0}
    plain = Config("sgd", {}, {}, "constant", {}, "none", 3, 8)
    curve = schedule_curve(replace(plain, average="swa", average_hypers=own))
    assert curve == pytest.approx([1.0] * (STEPS // 2) + [0.3] * (STEPS // 2))
    ema = {"decay": 0.9, "start": 0.0}
    assert schedule_curve(replace(plain, average="ema", average_hypers=ema)) == [1.0] * STEPS
    labels = {one.label for one in samples_of(spec.space, draw(spec.space, seed=0))}
    assert {"average", "swa.start", "swa.swa_lr", "ema.decay"} <= labels
