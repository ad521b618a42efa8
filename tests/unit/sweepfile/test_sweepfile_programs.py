"""Right program files: W&B's keys as W&B means them, ours beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweeps.config import Config, ScriptConfig, read_config
from sweeps.scripts.program import DEFAULT_COMMAND, EXIT_CODE, Program
from sweeps.spec import Spec, differences, load_spec
from sweeps.spec.faults import SpecError
from sweeps.spec.models import EarlyTerminate
from sweeps.spec.yaml_1_1 import read_yaml_1_1

Load = Callable[..., Spec]

SMALL = "program: train.py\nmetric: {name: loss}\nparameters: {lr: {min: 0.1, max: 0.2}}\n"
WANDB = """\
program: src/train.py
project: mine
entity: us
settings: {x: 1}
name: my sweep
description: of a script
method: bayes
metric: {name: val/loss, goal: maximize, target: 0.9, impute: worst}
run_cap: 12
early_terminate: {type: hyperband, min_iter: 3, s: 2}
command: ["${env}", "${interpreter}", "${program}", --gpus, 2, 1e-3, true, "${args_no_hyphens}"]
parameters:
  lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-1}
  layers: {min: 1, max: 4}
  drop: {min: 0, max: 0.5}
  amp: {values: [yes, no]}
  batch: {distribution: q_uniform, min: 8, max: 32, q: 8}
  data: {value: mnist}
  optimizer:
    parameters:
      name: {values: [adam, sgd]}
      betas: {values: [[0.9, 0.99], [0.8, 0.9]]}
      extra: {parameters: {nesterov: {value: true}}}
"""
HOSTILE = ["a b", "x'; DROP TABLE trials; --", "../../etc", 'q"uo`te$(id)', "line\nbreak", "é"]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(text: str, overrides: dict[str, Any] | None = None) -> Spec:
        (tmp_path / "sweep.yaml").write_text(text)
        return load_spec(tmp_path / "sweep.yaml", overrides)

    return write


def test_a_file_of_wandb_is_read_as_wandb_reads_it(load: Load, tmp_path: Path) -> None:
    spec = load(WANDB)
    assert spec.passed_over == ("project", "entity", "settings", "metric.impute")
    assert (spec.name, spec.description, spec.method) == ("my sweep", "of a script", "gp")
    metric = spec.metric
    assert (metric.name, metric.goal, metric.target) == ("val/loss", "maximize", 0.9)
    assert spec.budget.trials == 12
    hyperband = EarlyTerminate(type="hyperband", min_iter=3, s=2)
    assert spec.early_terminate == hyperband
    command = (*DEFAULT_COMMAND[:3], "--gpus", "2", "0.001", "True", "${args_no_hyphens}")
    assert spec.program == Program(command, "src/train.py", tmp_path)
    assert spec.baseline_config(epochs=0, batch_size=0) is None
    assert spec.space.flat() == {
        "lr": FloatDistribution(1e-5, 0.1, log=True),
        "layers": IntDistribution(1, 4),
        "drop": FloatDistribution(0, 0.5),
        "amp": CategoricalDistribution([True, False]),
        "batch_quantile": FloatDistribution(1e-6, 1 - 1e-6),
        "optimizer.name": CategoricalDistribution(["adam", "sgd"]),
        "optimizer.betas": CategoricalDistribution(["[0.9, 0.99]", "[0.8, 0.9]"]),
    }


def test_a_trial_of_a_script_has_its_parameters_nested_and_sorted_as_wandb_does(load: Load) -> None:
    spec = load(WANDB)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    sampled = spec.space.suggest(trial)
    config = spec.space.config(sampled, epochs=0, batch_size=0)
    names = ["amp", "batch", "data", "drop", "layers", "lr", "optimizer"]
    assert list(config.params) == names
    inner = config.params["optimizer"]
    assert list(inner) == ["betas", "extra", "name"]
    assert inner["betas"] in ([0.9, 0.99], [0.8, 0.9])
    assert inner["extra"] == {"nesterov": True}
    assert config.params["batch"] in (8, 16, 24, 32)
    assert config.flat()["optimizer.extra.nesterov"] is True
    assert trial.params == sampled
    assert spec.space.encode(config) == pytest.approx(sampled, abs=0.51)  # q_uniform has steps
    assert read_config(json.loads(json.dumps(config.to_json()))) == config
    assert config.title.startswith("amp=")


def test_absent_keys_of_a_program_file(load: Load, tmp_path: Path) -> None:
    spec = load(SMALL)
    assert spec.program == Program(DEFAULT_COMMAND, "train.py", tmp_path)
    assert (spec.name, spec.method, spec.budget.trials, spec.seed) == ("sweep", "tpe", 100, 0)
    assert (spec.early_terminate.type, spec.metric.goal, spec.metric.take) == (
        "none",
        "minimize",
        "best",
    )
    assert spec.baseline is None
    assert spec.passed_over == ()


def test_keys_of_our_own(load: Load, tmp_path: Path) -> None:
    spec = load(
        SMALL + "working_directory: ../code\nenv: {DEPTH: 3, MODE: offline, '0': 'x=y'}\n"
        "trials_per_device: 4\nmetrics_file: out/{trial}.jsonl\nseed: 7\ndevice: cuda:1\n"
        "budget: {time: 2h, trial_time: 5m}\nstorage: sqlite:///own.db\ntracking: none\n"
        "early_terminate: {type: asha, min_epochs: 2}\n",
        {"workers": 3},
    )
    assert spec.program == Program(
        DEFAULT_COMMAND,
        "train.py",
        tmp_path,
        working_directory="../code",
        env={"DEPTH": "3", "MODE": "offline", "0": "x=y"},
        metrics_file="out/{trial}.jsonl",
        trials_per_device=4,
    )
    assert spec.program.directory == tmp_path / "../code"
    assert (spec.workers, spec.device, spec.seed, spec.budget.time) == (3, "cuda:1", 7, 7200)
    assert spec.early_terminate == EarlyTerminate(type="asha", min_epochs=2)


@pytest.mark.parametrize("method", ["random", "grid", "qmc"])
def test_a_sweep_that_tries_everything_needs_no_metric(load: Load, method: str) -> None:
    spec = load(f"program: a.py\nmethod: {method}\nparameters: {{a: {{values: [1, 2]}}}}\n")
    assert (spec.metric.name, spec.metric.goal) == (EXIT_CODE, "minimize")


def test_a_module_is_no_file(load: Load) -> None:
    head = SMALL.replace("train.py", "pkg.train")
    assert load(SMALL).program.runs_file
    assert not load(head + "command: [python, -m, '${program}', '${args}']\n").program.runs_file
    assert not load(head + "command: [python, other.py, '${args}']\n").program.runs_file


def test_max_iter_comes_before_min_iter_as_wandb_has_it(load: Load) -> None:
    text = SMALL + "early_terminate: {type: hyperband, min_iter: 2, max_iter: 27, s: 2"
    found = load(text + "}\n").early_terminate
    assert (found.min_iter, found.max_iter, found.s, found.strict) == (None, 27, 2, False)
    assert load(text + ", strict: true}\n").early_terminate.strict is True


def test_known_parameters_are_given_nested_or_with_dots(load: Load) -> None:
    spec = load(
        "program: train.py\nmetric: {name: loss}\nparameters:\n"
        "  lr: {min: 0.1, max: 0.2}\n  data: {value: mnist}\n"
        "  opt: {parameters: {name: {values: [adam, sgd]}, eps: {value: 1}}}\n"
        "baseline: {lr: 3.0, opt: {name: lion, eps: 2}}\n"
        "enqueue: [{lr: 0.15, opt.name: sgd, data: own}]\n"
    )
    sizes = {"epochs": 0, "batch_size": 0}
    baseline = spec.baseline_config(**sizes)
    assert baseline == ScriptConfig({"data": "mnist", "lr": 3.0, "opt": {"eps": 2, "name": "lion"}})
    (enqueued,) = spec.enqueue_configs(**sizes)
    assert enqueued == ScriptConfig({"data": "own", "lr": 0.15, "opt": {"eps": 1, "name": "sgd"}})
    assert spec.space.encode(baseline) is None
    within = ScriptConfig({"data": "mnist", "lr": 0.15, "opt": {"eps": 1, "name": "sgd"}})
    assert spec.space.encode(within) == {"lr": 0.15, "opt.name": "sgd"}


def test_a_grid_runs_through_every_combination_of_a_script(load: Load) -> None:
    spec = load(
        "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters:\n"
        "  a: {values: [x, y], probabilities: [0.9, 0.1]}\n  b: {min: 1, max: 3}\n  c: 5\n"
        "  d: {distribution: q_uniform, min: 0, max: 1, q: 0.5}\n"
    )
    points = [spec.space.config(p, epochs=0, batch_size=0).params for p in spec.space.grid()]
    assert spec.space.size() == len(points) == 18
    assert {(p["a"], p["b"], p["d"]) for p in points} == {
        (a, b, d) for a in "xy" for b in (1, 2, 3) for d in (0, 0.5, 1)
    }
    assert {p["c"] for p in points} == {5}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_passed_on_as_it_is(load: Load, name: str) -> None:
    parameters = {name: {"values": [name, 1]}, "outer": {"parameters": {name: {"value": name}}}}
    head = {"program": "train.py", "metric": {"name": name}}
    spec = load(yaml.safe_dump(head | {"parameters": parameters}))
    config = spec.space.config({name: name}, epochs=0, batch_size=0)
    assert config == ScriptConfig({name: name, "outer": {name: name}})
    assert config.title.isprintable()
    assert spec.metric.name == name


def test_what_makes_two_sweeps_of_scripts_comparable(tmp_path: Path) -> None:
    def meaning(text: str, folder: str = "a") -> dict[str, Any]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "sweep.yaml").write_text(text)
        found: dict[str, Any] = load_spec(tmp_path / folder / "sweep.yaml").meaning()
        return found

    one = json.loads(json.dumps(meaning(SMALL)))
    assert differences(one, meaning(SMALL + "seed: 3\ntrials_per_device: 2\nrun_cap: 5\n")) == []
    elsewhere = f"{tmp_path}/a/train.py -> {tmp_path}/b/train.py"
    assert differences(one, meaning(SMALL, "b")) == [f"program: {elsewhere}"]
    assert differences(one, meaning(SMALL.replace("0.2", "0.3"))) == [
        "lr: [0.1, 0.2] -> [0.1, 0.3]"
    ]
    task = "task: digits-mlp\noptimizer: sgd\nparameters: {lr: {min: 0.1, max: 0.2}}\n"
    changes = differences(one, meaning(task))
    assert "task: none -> digits-mlp" in changes
    assert f"program: {tmp_path}/a/train.py -> none" in changes
    assert "optimizer: none -> sgd" in changes
    assert "task: digits-mlp -> none" in differences(meaning(task), one)


def test_a_program_file_read_again_at_its_own_place(load: Load, tmp_path: Path) -> None:
    moved = load(SMALL).at(tmp_path / "else" / "sweep.yaml")
    assert moved.program is not None
    assert moved.program.folder == tmp_path / "else"


def test_json_of_a_program_has_its_own_keys_and_no_password(load: Load) -> None:
    spec = load(SMALL + "storage: postgresql+psycopg://me:secret@db/x\n")
    found = spec.to_json()
    assert not found.keys() & {"task", "optimizer", "lanes", "epochs", "repeats"}
    assert found["command"] == DEFAULT_COMMAND
    assert [knob["label"] for knob in found["knobs"]] == ["lr"]
    assert "secret" not in json.dumps(found) + spec.text


def test_read_config_tells_the_two_kinds_apart() -> None:
    task = Config("sgd", {"lr": 1.0}, {}, "step", {}, "none", 3, 4, {"params": 1})
    assert read_config(task.to_json()) == task
    assert read_config({"params": {"optimizer": "x"}}) == ScriptConfig({"optimizer": "x"})


YAML_1_1 = """\
a: yes
b: Off
c: 010
d: 0x1f
e: 1_000
f: 1:30
g: 1.5
h: .inf
i: ~
j: 'yes'
k: "1e-5"
l: [1, two, 3.0, null, 0b11]
m: &m {x: 1, y: 2}
n: {<<: *m, y: 3}
o: 0o17
p: 190:20:30.15
q: +12
r: 1e5x
"""


def test_yaml_1_1_is_pyyaml_s() -> None:
    assert read_yaml_1_1(YAML_1_1).data == yaml.safe_load(YAML_1_1)
    assert read_yaml_1_1(YAML_1_1).lines["l", 3] == 12


@pytest.mark.parametrize("text", ["1e-5", "1E5", "-1e5", "1.e-3", "1.5e3", "+2.5E+3", ".5e1"])
def test_yaml_1_1_with_exponents_as_numbers(text: str) -> None:
    assert read_yaml_1_1(f"a: {text}").data == {"a": float(text)}


def test_yaml_1_1_leaves_dates_as_text_and_refuses_types() -> None:
    assert read_yaml_1_1("a: 2001-12-14").data == {"a": "2001-12-14"}
    document = read_yaml_1_1("a: !!python/object/apply:os.system [ls]\nb: !!int x\n")
    assert [line for line, _ in document.errors] == [1, 2]
    assert document.data == {"a": None, "b": None}


@pytest.mark.parametrize(
    "name",
    [
        "PGPASSWORD",
        "DB_PASS",
        "APIKEY",
        "MYSQL_PWD",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "credentials",
    ],
)
def test_a_name_of_a_secret_is_refused(load: Load, name: str) -> None:
    with pytest.raises(SpecError, match=rf"env\.{name} is a secret"):
        load(f"{SMALL}env: {{{name}: abc}}\n")


def test_a_url_with_a_password_is_refused_by_any_name(load: Load) -> None:
    with pytest.raises(SpecError, match=r"env\.DATABASE_URL is a secret"):
        load(f"{SMALL}env: {{DATABASE_URL: 'postgresql://me:pw@host/x'}}\n")


def test_names_that_look_like_secrets_are_not_refused(load: Load) -> None:
    names = ["PWD", "MAX_TOKENS", "TOKENIZERS_PARALLELISM", "MONKEY", "COMPASS", "DATABASE_URL"]
    found = load(f"{SMALL}env: {{{', '.join(f'{name}: abc' for name in names)}}}\n").program
    assert found is not None
    assert list(found.env) == names
