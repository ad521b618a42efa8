"""Whatever stands in a sweep file, reading it ends in a Spec or in a UserError."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from studies.errors import UserError
from sweeps.spec import load_spec
from sweeps.spec.yaml_lines import read_yaml

GOOD = """\
task: digits-mlp
task_args: {hidden: 128}
method: tpe
metric: {name: valid/loss, goal: minimize}
optimizer: [adamw, sgd]
schedule: [cosine, step]
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}
  beta1: {distribution: one_minus_log_uniform, min: 0.8, max: 0.99}
  weight_decay: {values: [0, 0.01, 0.1], probabilities: [0.2, 0.4, 0.4]}
  sgd: {parameters: {lr: {distribution: q_uniform, min: 0.01, max: 1, q: 0.1}, nesterov: true}}
  step_epochs: {min: 2, max: 9}
  depth: {values: [1, 2]}
baseline: {optimizer: adamw, lr: 0.001}
enqueue: [{optimizer: sgd, lr: 0.1}]
early_terminate: {type: asha, min_epochs: auto, eta: 3}
budget: {trials: 100, time: 30m}
seed: 0
"""
PROGRAM = """\
program: train.py
command: ["${interpreter}", "${program}", "${args}"]
env: {A: b}
working_directory: .
metrics_file: "{trial}.jsonl"
trials_per_device: 2
project: mine
method: bayes
metric: {name: loss, goal: minimize, target: 0.1}
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}
  optimizer: {parameters: {name: {values: [adam, sgd]}, eps: {value: 1.0e-8}}}
  depth: {min: 1, max: 4}
baseline: {lr: 0.001, optimizer: {name: adam}, depth: 2}
enqueue: [{lr: 0.1, optimizer.name: sgd, depth: 1}]
early_terminate: {type: hyperband, min_iter: 2, eta: 3}
budget: {trials: 100, time: 30m}
"""
ODD: list[Any] = [
    None, True, False, -1, 0, 1.5, 10**400, 1e308, "", "x", "auto", "none", "sgd", [], [1], [None],
    {}, {"a": 1}, {"values": [1]}, {"values": 3}, {"values": [[1], {"b": 2}]}, {"parameters": 3},
    {"parameters": {"lr": {"parameters": {"x": 1}}}}, {"min": 1, "max": 2}, {"min": 0, "max": 1e9},
    {"distribution": ["x"]}, {"distribution": "normal", "sigma": 1e308},
    {"distribution": "q_uniform", "min": -1e308, "max": 1e308, "q": 1e-300},
    {"distribution": "beta", "a": 1e-9, "b": 1e9},
    {"distribution": "int_uniform", "min": 0, "max": 10**30},
]  # fmt: skip
KEYS = (
    "lr",
    "parameters",
    "distribution",
    "epochs",
    "sgd",
    "adam",
    "min",
    "type",
    "optimizer",
    "q",
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    entries: Any = node.items() if isinstance(node, dict) else ()
    if isinstance(node, list):
        entries = enumerate(node)
    for key, value in entries:
        yield from places(value, (*path, key))


def changed(data: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = rng.choice(list(places(data)) or [("task",)])
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(parent, dict) and rng.random() < 0.3:
            parent[rng.choice(KEYS)] = deepcopy(rng.choice(ODD))
        else:
            parent[path[-1]] = deepcopy(rng.choice(ODD))
    return data


@pytest.mark.parametrize("good", [GOOD, PROGRAM], ids=["task", "program"])
def test_odd_files_are_read_or_refused(tmp_path: Path, good: str) -> None:
    rng = random.Random(11)
    path = tmp_path / "sweep.yaml"
    refused = 0
    for _ in range(150):
        path.write_text(json.dumps(changed(read_yaml(good).data, rng), indent=1))  # JSON is YAML
        try:
            spec = load_spec(path)
        except UserError as error:
            refused += str(error).startswith(f"{path}:")
            continue
        json.dumps([spec.to_json(), spec.meaning()], default=str)
        spec.space.size()
        spec.space.flat()
        known = spec.enqueue_configs(epochs=3, batch_size=8)
        for config in filter(None, (spec.baseline_config(epochs=3, batch_size=8), *known)):
            spec.space.encode(config)
            config.flat()
    assert 75 < refused < 150
