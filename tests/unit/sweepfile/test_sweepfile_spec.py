"""Right task files: every key resolved, what makes two of them comparable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from pydantic import ValidationError

from optimizers import RULES, SCHEDULES
from sweeps.config import Config
from sweeps.spec import Spec, differences, load_spec
from sweeps.spec.models import Budget, EarlyTerminate, Metric

Load = Callable[[str], Spec]

# The contract's own example, without what this version refuses (compare).
FULL = """\
name: digits-adamw
description: free text
task: digits-mlp
task_args: {hidden: 128}
method: bayes
metric: {name: valid/accuracy, goal: maximize, target: 0.98, take: last}
optimizer: [adamw, sgd]
schedule: [cosine, step]
average: none
epochs: 30
batch_size: 32
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}
  beta1: {distribution: one_minus_log_uniform, min: 0.8, max: 0.99}
  beta2: 0.999
  weight_decay: {values: [0, 0.01, 0.1], probabilities: [0.2, 0.4, 0.4]}
  sgd: {parameters: {lr: {distribution: log_uniform_values, min: 0.01, max: 1}}}
  depth: {values: [1, 2]}
baseline: {optimizer: adamw, lr: 0.001}
enqueue: [{optimizer: sgd, learning_rate: 0.1, schedule: step, step_epochs: 3, hidden: 64}]
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3, strict: true}
run_cap: 100
budget: {trials: 100, time: 1h30m, gpu_hours: 4, trial_time: 90s, failures: 20}
seed: 5
repeats: 2
decay: decoupled
device: cuda:1
lanes: 1
precision: bf16
compile: false
workers: 1
storage: postgresql+psycopg://me:secret@db.example/sweeps
tracking: none
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str) -> Spec:
        path = tmp_path / "my-sweep.yaml"
        path.write_text(text)
        return load_spec(path)

    return write


def test_every_key_is_read(load: Load) -> None:
    spec = load(FULL)
    assert spec.name == "digits-adamw"
    assert spec.method == "gp"
    assert spec.metric == Metric(name="valid/accuracy", goal="maximize", target=0.98, take="last")
    assert (spec.optimizer, spec.schedule) == (("adamw", "sgd"), ("cosine", "step"))
    assert (spec.epochs, spec.batch_size, spec.seed, spec.repeats) == (30, 32, 5, 2)
    assert spec.budget == Budget(trials=100, time="1h30m", gpu_hours=4, trial_time="90s")
    assert (spec.budget.time, spec.budget.trial_time) == (5400, 90)
    stopper = spec.early_terminate
    assert (stopper.type, stopper.max_iter, stopper.s, stopper.eta) == ("hyperband", 27, 2, 3)
    assert (spec.device, spec.precision, spec.compile, spec.tracking) == (
        "cuda:1",
        "bf16",
        False,
        "none",
    )


def test_absent_keys_have_the_contracts_defaults(load: Load) -> None:
    spec = load("task: digits-mlp\nparameters:\n")
    assert spec.name == "my-sweep"
    assert (spec.method, spec.optimizer, spec.schedule) == ("tpe", ("adamw",), ("cosine",))
    assert spec.metric == Metric(name="valid/loss", goal="minimize", take="best")
    assert spec.metric.target is None
    assert spec.average == ("none",)
    assert (spec.epochs, spec.batch_size) == (None, None)
    assert spec.budget == Budget(trials=100, failures=20)
    assert (spec.budget.time, spec.budget.gpu_hours, spec.budget.trial_time) == (None,) * 3
    assert spec.early_terminate == EarlyTerminate(type="asha", eta=3)
    assert spec.early_terminate.min_epochs is None
    assert (spec.seed, spec.repeats, spec.decay) == (0, 1, None)
    assert (spec.device, spec.lanes, spec.compile, spec.workers) == ("auto",) * 4
    assert spec.precision == "float32"
    assert spec.storage == "sqlite:///sweeps.db"
    assert spec.tracking == "sqlite:///mlflow.db"


def test_a_spec_does_not_change(load: Load) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load("task: digits-mlp\n").seed = 3


def test_the_default_baseline_is_the_first_optimizer_as_published(load: Load) -> None:
    spec = load(
        "task: digits-mlp\noptimizer: [sgd, adamw]\nparameters: {depth: {min: 2, max: 4}}\n"
    )
    assert spec.baseline_config(epochs=7, batch_size=16) == Config(
        optimizer="sgd",
        hypers={name: hyper.default for name, hyper in RULES["sgd"].hypers.items()},
        switches={"nesterov": False},
        schedule="constant",
        schedule_hypers={n: h.default for n, h in SCHEDULES["constant"].hypers.items()},
        average="none",
        epochs=7,
        batch_size=16,
        task_args={"depth": 2},
    )
    assert spec.enqueue_configs(epochs=7, batch_size=16) == ()


def test_known_configurations_are_filled_in(load: Load) -> None:
    spec = load(FULL)
    baseline = spec.baseline_config(epochs=30, batch_size=32)
    assert baseline is not None
    assert baseline.hypers == {
        "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01
    }  # fmt: skip
    assert baseline.task_args == {"hidden": 128, "depth": 1}
    [known] = spec.enqueue_configs(epochs=30, batch_size=32)
    assert (known.optimizer, known.hypers["lr"], known.schedule) == ("sgd", 0.1, "step")
    assert known.schedule_hypers["step_fraction"] == pytest.approx(0.1)
    assert known.task_args == {"hidden": 64, "depth": 1}
    assert known.switches == {"nesterov": False, "decay": "decoupled"}
    assert spec.space.encode(known) is None  # hidden is 128 in the space


def test_a_known_configuration_of_the_space_has_sampled_values(load: Load) -> None:
    spec = load(
        "task: digits-mlp\noptimizer: [adamw, sgd]\nschedule: [constant, cosine]\n"
        "enqueue: [{optimizer: sgd, momentum: 0.9, weight_decay: 1e-4}]\n"
    )
    [known] = spec.enqueue_configs(epochs=3, batch_size=8)
    assert spec.space.encode(known) == pytest.approx(
        {
            "optimizer": "sgd",
            "schedule": "constant",
            "sgd.lr": 1e-3,
            "sgd.one_minus_momentum": 0.1,
            "sgd.weight_decay": 1e-4,
            "constant.warmup_fraction": 0.0,
        }
    )


@pytest.mark.parametrize("off", ["false", "none"])
def test_a_baseline_can_be_switched_off(load: Load, off: str) -> None:
    spec = load(f"task: digits-mlp\nbaseline: {off}\n")
    assert spec.baseline_config(epochs=1, batch_size=1) is None


@pytest.mark.parametrize(
    "entry",
    ["optimizer: [adamw, sgd]", "optimizer: {values: [adamw, sgd]}", "schedule: {value: step}"],
)
def test_parameters_may_name_the_choices(load: Load, entry: str) -> None:
    inside = load(f"task: digits-mlp\nparameters:\n  {entry}\n")
    name, _, value = entry.partition(": ")
    plain = value.removeprefix("{values: ").removeprefix("{value: ").rstrip("}")
    outside = load(f"task: digits-mlp\n{name}: {plain}\n")
    assert inside.space == outside.space
    assert (inside.optimizer, inside.schedule) == (outside.optimizer, outside.schedule)


def test_parameters_may_fix_the_epochs(load: Load) -> None:
    assert load("task: digits-mlp\nparameters: {epochs: 4, batch_size: {value: 8}}\n").epochs == 4
    one = load("task: digits-mlp\noptimizer: [sgd]\nparameters: {epochs: [4, 8]}\n")
    assert one.space.branching == ()
    assert one.space.flat()["epochs"].choices == (4, 8)


def test_overrides_replace_keys(load: Load, tmp_path: Path) -> None:
    load("task: digits-mlp\nseed: 1\n")
    spec = load_spec(tmp_path / "my-sweep.yaml", {"seed": 9, "name": "other"})
    assert (spec.seed, spec.name) == (9, "other")


def test_the_resolved_form_is_json_and_holds_no_password(load: Load) -> None:
    spec = load(FULL)
    text = json.dumps(spec.to_json())
    assert "secret" not in text
    assert "secret" not in spec.text
    assert "postgresql+psycopg://me:***@db.example/sweeps" in spec.text
    assert "secret" in spec.storage
    stored = json.loads(text)
    assert stored["storage"] == "postgresql+psycopg://me:***@db.example/sweeps"
    assert stored["budget"]["trials"] == 100
    assert stored["space"]["knobs"]["sgd.lr"] == {
        "distribution": "log_uniform_values", "min": 0.01, "max": 1.0
    }  # fmt: skip


def test_the_same_meaning_has_no_differences(load: Load) -> None:
    first = load("task: digits-mlp\nparameters: {lr: {min: 0.1, max: 1.0}}\n")
    second = load(
        "task: digits-mlp\nmethod: random\nseed: 3\nrun_cap: 7\nstorage: sqlite:///other.db\n"
        "parameters: {learning_rate: {distribution: uniform, min: 0.1, max: 1}}\n"
    )
    stored = json.loads(json.dumps(first.meaning()))
    assert differences(stored, second.meaning()) == []


def test_differences_are_said_in_words(load: Load) -> None:
    old = load(
        "task: digits-mlp\nparameters:\n"
        "  lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}\n  hidden: 64\n"
    )
    new = load(
        "task: digits-mlp\nepochs: 5\nmetric: {name: valid/accuracy, goal: maximize}\n"
        "parameters:\n"
        "  lr: {distribution: log_uniform_values, min: 1e-3, max: 0.1}\n  beta2: 0.999\n"
    )
    stored = json.loads(json.dumps(old.meaning()))
    assert differences(stored, new.meaning()) == [
        "epochs: the task's own -> 5",
        "metric.name: valid/loss -> valid/accuracy",
        "metric.goal: minimize -> maximize",
        "lr: [1e-4, 0.1] log -> [1e-3, 0.1] log",
        "beta2: [0.9, 0.9999] log in 1 - x -> 0.999",
        "hidden: 64 -> not there",
    ]


def test_another_choice_of_optimizers_is_one_difference(load: Load) -> None:
    old, new = load("task: digits-mlp\n"), load("task: digits-mlp\noptimizer: [adamw, sgd]\n")
    assert differences(old.meaning(), new.meaning()) == ["optimizer: adamw -> adamw, sgd"]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@ss:wsecret@host/d", "postgresql://u:***@host/d"),
        ("postgresql://u:top/secret@host/d", "postgresql://u:***@host/d"),
        ("postgresql://u:top secret@host/d", "postgresql://u:***@host/d"),
        (
            "postgresql://host/d?user=u&password=topsecret",
            "postgresql://host/d?user=u&password=***",
        ),
    ],
)
@pytest.mark.parametrize("key", ["storage", "tracking"])
def test_no_form_of_a_password_gets_out(load: Load, key: str, url: str, masked: str) -> None:
    spec = load(f"{{task: digits-mlp, {key}: '{url}', task_args: {{hidden: 3}}}}\n")
    assert getattr(spec, key) == url  # what is connected to
    assert spec.to_json()[key] == masked
    for text in (spec.text, json.dumps(spec.to_json()), json.dumps(spec.meaning())):
        assert "secret" not in text
        assert "wsecret" not in text
        assert "ss:w" not in text


def test_a_password_among_the_tasks_arguments_is_masked_in_the_json(load: Load) -> None:
    spec = load(
        "task: digits-mlp\ntask_args: {hidden: ['x://u:secret@h', {y: 'z://a:secret@h'}]}\n"
    )
    resolved = spec.to_json()
    assert resolved["task_args"] == {"hidden": ["x://u:***@h", {"y": "z://a:***@h"}]}
    assert "secret" not in json.dumps(resolved)


def test_the_names_in_a_file_are_known_though_its_text_is_masked(load: Load) -> None:
    spec = load(
        "{task: digits-mlp, storage: 'x://u:p@h', description: 'me@home', parameters: {lr: 0.1,"
        " optimizer: sgd}}\n"
    )
    assert spec.named == {
        "task", "storage", "description", "parameters", "lr", "optimizer"
    }  # fmt: skip


def test_every_knob_is_listed_for_programs(load: Load) -> None:
    spec = load(
        "task: digits-mlp\noptimizer: [adamw, sgd]\nschedule: constant\nepochs: 3\n"
        "parameters: {beta1: 0.9, hidden: {values: [64, 128], probabilities: [0.2, 0.8]}}\n"
    )
    knobs = {knob["label"]: knob for knob in json.loads(json.dumps(spec.to_json()))["knobs"]}
    assert list(knobs) == [knob.label for knob in spec.space.knobs]
    assert knobs["adamw.lr"] == {
        "name": "lr",
        "label": "adamw.lr",
        "kind": "optimizer",
        "owner": "adamw",
        "searched": True,
        "source": "default",
        "describe": "[1e-4, 0.1] log",
        "distribution": {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1},
    }
    assert knobs["adamw.beta1"]["source"] == "yours"
    assert (knobs["adamw.beta1"]["searched"], knobs["adamw.eps"]["searched"]) == (False, False)
    assert (knobs["hidden"]["kind"], knobs["hidden"]["owner"]) == ("task", "task")
    assert knobs["warmup_fraction"]["owner"] == "constant"
    assert knobs["hidden"]["distribution"]["probabilities"] == [0.2, 0.8]


@pytest.mark.parametrize(
    ("optimizer", "decay", "twin"),
    [("adamw", "l2", "adam"), ("adam", "decoupled", "adamw"), ("sgd", "decoupled", "sgdw"),
     ("sgdw", "l2", "sgd"), ("sgd", "l2", "sgd")],
)  # fmt: skip
def test_another_decay_is_searched_where_it_makes_sense(
    load: Load, optimizer: str, decay: str, twin: str
) -> None:
    text = f"task: digits-mlp\noptimizer: {optimizer}\ndecay: {decay}\n"
    law = load(text).space.flat()["weight_decay"]
    assert isinstance(law, FloatDistribution)
    range_of_twin = RULES[twin].hypers["weight_decay"]
    assert (law.low, law.high) == (range_of_twin.low, range_of_twin.high)
    [fixed] = [k for k in load(text + "method: grid\n").space.knobs if k.name == "weight_decay"]
    assert fixed.distribution.first() == RULES[optimizer].hypers["weight_decay"].default


def test_a_grid_runs_through_values_whatever_their_probabilities(load: Load) -> None:
    spec = load(
        "task: digits-mlp\nmethod: grid\nparameters:\n"
        "  lr: {values: [0.1, 0.2, 0.3], probabilities: [0.7, 0.3, 0]}\n"
        "  sgd: {parameters: {momentum: {values: [0.8, 0.9], probabilities: [0.5, 0.5]}}}\n"
        "optimizer: sgd\n"
    )
    points = spec.space.grid()
    assert spec.space.size() == len(points) == 6
    assert {(p["lr"], p["momentum"]) for p in points} == {
        (lr, momentum) for lr in (0.1, 0.2, 0.3) for momentum in (0.8, 0.9)
    }


def test_hyperbands_strict_is_off_unless_asked_for(load: Load) -> None:
    text = "task: digits-mlp\nearly_terminate: {type: hyperband, min_iter: 3"
    assert load(text + "}\n").early_terminate.strict is False
    assert load(text + ", strict: true}\n").early_terminate.strict is True


def test_two_files_of_one_name_in_two_folders_are_two_tasks(tmp_path: Path) -> None:
    specs = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.py").write_text("def make():\n    pass\n")
        path = tmp_path / folder / "sweep.yaml"
        path.write_text("task: train.py:make\n")
        specs.append(load_spec(path))
    (found,) = differences(specs[0].meaning(), specs[1].meaning())
    assert found.startswith("task: ")
    assert "a/train.py:make" in found
    assert "b/train.py:make" in found
    assert differences(specs[0].meaning(), specs[0].meaning()) == []
