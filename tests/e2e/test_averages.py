"""A sweep over averages of the weights, from the file to the code to paste."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import optimizers
from tests.e2e.runs import exported, write

SWEEP = """
name: small
task: iris-mlp
method: random
optimizer: sgd
average: [none, swa, ema]
parameters:
  swa: {parameters: {start: {min: 0.4, max: 0.6}}}
  ema: {parameters: {decay: {distribution: one_minus_log_uniform, min: 0.5, max: 0.9}}}
baseline: {optimizer: sgd, lr: 0.1}
enqueue: [{average: swa, swa.start: 0.5, lr: 0.1}, {average: ema, ema.decay: 0.8, lr: 0.1}]
early_terminate: none
epochs: 6
run_cap: 10
seed: 1
"""


def test_averages_are_compared_and_the_best_is_pasted(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path, SWEEP)
    ran = sweeps("run", "sweep.yaml", "--tracking", "none", "--json")
    assert ran.code == 0, ran.err
    trials = exported(sweeps)
    assert {trial["params"]["average"] for trial in trials} == {"none", "swa", "ema"}
    for trial in trials:
        raw = {name for name in trial["curves"] if name.endswith("_raw")}
        if trial["params"]["average"] == "none":
            assert not raw
            continue
        assert raw == {f"{s}/{m}_raw" for s in ("valid", "test") for m in ("loss", "accuracy")}
        judged, own = trial["curves"]["valid/loss"], trial["curves"]["valid/loss_raw"]
        assert [epoch for epoch, _ in own] == [1, 2, 3, 4, 5, 6]
        assert (judged[0] == own[0]) == (trial["params"]["average"] == "swa")
        assert judged[-1] != own[-1]
    _, swa, ema = trials[:3]
    assert (swa["params"]["swa.start"], ema["params"]["ema.decay"]) == (0.5, 0.8)
    shown = sweeps("show", "small", "2")
    assert "ema.decay" in shown.out
    assert "valid/loss_raw" in shown.out


def test_the_best_averaged_trial_is_pasted(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SWEEP.replace("[none, swa, ema]", "swa").replace("run_cap: 10", "run_cap: 4"))
    text = (tmp_path / "sweep.yaml").read_text().splitlines()
    dropped = ("  ema:", "baseline:", "enqueue:")
    kept = [line for line in text if not line.startswith(dropped)]
    (tmp_path / "sweep.yaml").write_text("\n".join([*kept, "baseline: false", ""]))
    ran = sweeps("run", "sweep.yaml", "--tracking", "none", "--json")
    assert ran.code == 0, ran.err
    best = json.loads(sweeps("best", "small", "--json").out)
    names: dict[str, Any] = {
        "torch": torch,
        "optimizers": optimizers,
        "model": torch.nn.Linear(2, 1),
        "steps_per_epoch": 5,
    }
    exec(best["python"], names)
    params = best["best"]["params"]
    assert names["average"].kind.name == params["average"] == "swa"
    for knob in ("start", "swa_lr", "anneal", "frequency"):
        assert abs(names["average"].hypers[knob] / params[f"swa.{knob}"] - 1) < 1e-5
    assert names["scheduler"].average is names["average"]
    pasted = tmp_path / "again.yaml"
    pasted.write_text("name: again\ntask: iris-mlp\nrun_cap: 1\n" + best["yaml"] + "\n")
    again = sweeps("run", "again.yaml", "--tracking", "none", "--json")
    assert again.code == 0, again.err
    [trial] = exported(sweeps, "again")
    for name, value in params.items():
        found = trial["params"][name]
        assert found == value or abs(found / value - 1) < 1e-5, name
