"""Known configurations: what `sweeps best` prints is a baseline that means the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optimizers import RULES, SCHEDULES
from sweeps.config import Config
from sweeps.spec import Spec, load_spec
from sweeps.summary import yaml_text

Load = Callable[[str], Spec]

# Arguments that are named like what an optimizer, a schedule or the sweep has.
FACTORY = """\
def factory(lr=1, eps=2, decay=3, nesterov=4, step_epochs=5, learning_rate=6, epochs=7, schedule=8,
            threshold=9, hidden=10):
    raise AssertionError("a factory is not called to read a sweep file")
"""
TASK = """\
task: mine.py:factory
task_args: {lr: 0.5, eps: [1, 2], decay: half, nesterov: "true", step_epochs: 1e-7, schedule: ~,
  learning_rate: true, epochs: "1e-3", threshold: "1_0", hidden: {a: 1.5}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    (tmp_path / "mine.py").write_text(FACTORY)

    def write(text: str) -> Spec:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_spec(path)

    return write


def drawn(spec: Spec, seed: int) -> Config:
    """One random point of the space, as a sampler would give it."""
    rng = random.Random(seed)
    sampled: dict[str, Any] = {}
    for key, law in spec.space.flat().items():
        if isinstance(law, CategoricalDistribution):
            sampled[key] = rng.choice(law.choices)
        elif isinstance(law, IntDistribution):
            sampled[key] = rng.randint(law.low, law.high)
        elif isinstance(law, FloatDistribution):
            sampled[key] = rng.uniform(law.low, law.high)
    return spec.space.config(sampled, epochs=7, batch_size=32)


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value, rel=1e-5) for name, value in values.items()}


PAIRS = [*zip(RULES, itertools.cycle(SCHEDULES)), *(("sgd", name) for name in SCHEDULES)]
DECAYS = ("", "decay: l2\n", "decay: decoupled\n", "decay: independent\n")


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize(("rule", "schedule"), dict.fromkeys(PAIRS))
def test_the_pasted_yaml_is_the_same_configuration(
    load: Load, rule: str, schedule: str, decay: str
) -> None:
    switch = ""
    if "nesterov" in RULES[rule].switches:
        switch = f"parameters: {{{rule}: {{parameters: {{nesterov: true}}}}}}\n"
    text = f"{TASK}optimizer: {rule}\nschedule: {schedule}\n"
    best = drawn(load(text + decay + switch), seed=3)
    own = RULES[rule].decay
    assert best.switches.get("decay", own) == (decay.removeprefix("decay: ").strip() or own)
    for other in DECAYS:  # whatever else the file says
        spec = load(text + other + switch + yaml_text(best))
        again = spec.baseline_config(epochs=1, batch_size=1)
        assert again is not None
        assert again.hypers == rounded(best.hypers)
        assert again.schedule_hypers == rounded(best.schedule_hypers)
        assert again.switches == best.switches
        assert dict(again.task_args) == dict(best.task_args)
        assert (again.optimizer, again.schedule, again.average) == (rule, schedule, "none")
        assert (again.epochs, again.batch_size) == (7, 32)


def test_the_pasted_yaml_needs_no_prefix_where_a_name_is_plain(load: Load) -> None:
    best = drawn(load("task: digits-mlp\nparameters: {hidden: 64}\n"), seed=1)
    assert "hidden: 64" in yaml_text(best).splitlines()[-1]
    assert "." not in "".join(line.partition(":")[0] for line in yaml_text(best).splitlines())


def test_rounding_leaves_a_beta_below_one(load: Load) -> None:
    text = "task: digits-mlp\nparameters: {beta2: 0.99999991}\n"
    again = load(text + yaml_text(drawn(load(text), 0))).baseline_config(epochs=1, batch_size=1)
    assert again is not None
    assert again.hypers["beta2"] == 0.99999991


def test_a_prefix_says_whose_it_is(load: Load) -> None:
    spec = load(
        "task: mine.py:factory\nenqueue:\n"
        "- {schedule: plateau, eps: 1e-6, plateau.eps: 1e-7, task.eps: 3}\n"
        "- {adamw.learning_rate: 0.1, task.lr: 0.2, task.learning_rate: 0.3}\n"
        "- {schedule: step, step.step_epochs: 2, task.step_epochs: 9}\n"
    )
    plateau, adamw, step = spec.enqueue_configs(epochs=4, batch_size=2)
    assert (plateau.hypers["eps"], plateau.schedule_hypers["eps"]) == (1e-6, 1e-7)
    assert plateau.task_args == {"eps": 3}
    assert adamw.hypers["lr"] == 0.1
    assert adamw.task_args == {"lr": 0.2, "learning_rate": 0.3}
    assert step.schedule_hypers["step_fraction"] == 0.5
    assert step.task_args == {"step_epochs": 9}


def test_an_entrys_own_decay_comes_before_the_files(load: Load) -> None:
    spec = load(
        "task: digits-mlp\ndecay: l2\n"
        "enqueue: [{decay: decoupled}, {}, {decay: l2}, {optimizer: sgdw, decay: decoupled}]\n"
    )
    known = spec.enqueue_configs(epochs=1, batch_size=1)
    assert [config.switches.get("decay") for config in known] == [None, "l2", "l2", None]


def test_another_decay_is_not_in_the_space(load: Load) -> None:
    spec = load(
        "task: digits-mlp\nschedule: constant\n"
        "enqueue: [{decay: l2, weight_decay: 0.1}, {weight_decay: 0.1}]\n"
    )
    l2, own = spec.enqueue_configs(epochs=1, batch_size=1)
    assert spec.space.encode(l2) is None
    assert spec.space.encode(own) is not None


@pytest.mark.parametrize("null", ["", " ~", " null"])
def test_a_baseline_without_value_is_the_default_one(load: Load, null: str) -> None:
    absent = load("task: digits-mlp\n").baseline_config(epochs=2, batch_size=2)
    spec = load(f"task: digits-mlp\nbaseline:{null}\n")
    assert spec.baseline_config(epochs=2, batch_size=2) == absent
    assert absent is not None
