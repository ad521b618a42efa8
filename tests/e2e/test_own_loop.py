"""`sweeps run` of functions that train by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.runs import comparable, exported
from tests.waiting import wait_for

SWEEP = """
name: small
task: loop.py:train
metric: {name: val_loss, goal: minimize}
optimizer: [adamw, sgd]
schedule: cosine
epochs: 9
parameters: {fate: {values: [trains]}}
enqueue: [{fate: fails}, {fate: diverges}]
run_cap: 12
seed: 2
early_terminate: {type: asha, min_epochs: 1}
"""

LOOP = """
import time
from pathlib import Path

import torch


def train(trial, fate):
    calls = trial.folder / "calls"
    calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = trial.optimizer([weight])
    schedule = trial.schedule(optimizer, steps=trial.epochs)
    for epoch in range(1, trial.epochs + 1):
        if fate == "fails" and epoch == 3:
            raise RuntimeError("out of luck")
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
        time.sleep(0.3 if Path("slow").exists() else 0)
        reached = loss * float("nan") if fate == "diverges" and epoch == 2 else loss
        if trial.report(val_loss=reached, lr=schedule.get_last_lr()[0], step=10 * epoch):
            return
    return {"loss": float(weight.detach() ** 2)}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "loop.py").write_text(LOOP)
    return tmp_path


def test_a_sweep_of_a_function(sweeps: Callable[..., Any], folder: Path) -> None:
    ran = sweeps("run", "sweep.yaml")
    assert ran.code == 0, ran.err
    assert "all 12 trials have run" in ran.out
    trials = exported(sweeps)
    outcomes = [trial["outcome"] for trial in trials]
    assert outcomes[1:3] == ["failed", "diverged"]
    assert {"complete", "pruned"} == set(outcomes) - {"failed", "diverged"}
    assert len(trials) == 13  # a failed one takes no place
    for trial in trials:
        curve = [value for _, value in trial["curves"]["val_loss"]]
        assert [step for _, step in trial["curves"]["step"]] == [
            10.0 * epoch for epoch in range(1, len(curve) + 1)
        ]
        if trial["outcome"] == "complete":
            assert len(curve) == 9
            assert trial["value"] == min(curve)
            assert set(trial["test"]) == {"test/loss"}
    failed, diverged = trials[1:3]
    assert failed["reason"] == "RuntimeError: out of luck"
    shown = json.loads(sweeps("show", "small", "1", "--json").out)
    assert 'raise RuntimeError("out of luck")' in shown["traceback"]
    assert len(failed["curves"]["val_loss"]) == 2
    assert diverged["reason"] == "non-finite at step 20"
    assert "Warning" not in ran.err  # MLflow has taken all of it

    [kept] = folder.glob("sweeps-checkpoints/small-1/trials-*")
    assert sorted(int(path.name) for path in kept.iterdir()) == list(range(13))
    assert sweeps("delete", "small", "--yes").code == 0
    assert not kept.exists()


def test_plan_and_validate_say_that_it_trains_by_itself(
    sweeps: Callable[..., Any], folder: Path
) -> None:
    itself = "its function trains by itself: one call a trial, one at a time in each worker"
    planned = sweeps("plan", "sweep.yaml")
    assert planned.code == 0, planned.err
    assert f"Lanes: none, {itself}." in planned.out
    assert "Budget: 12 trials x 9 epochs, which are its reports of val_loss." in planned.out
    told = json.loads(sweeps("plan", "sweep.yaml", "--json").out)
    assert (told["fuses"], told["lanes"], told["trials"], told["epochs"]) == (False, 1, 12, 9)
    assert f"Task loop.py:train: {itself} (no lanes)" in sweeps("validate", "sweep.yaml").out
    assert not (folder / "sweeps.db").exists()
    refused = sweeps("validate", "sweep.yaml", "--json")
    assert refused.code == 0
    wrong = SWEEP.replace("schedule: cosine", "average: swa")
    (folder / "wrong.yaml").write_text(wrong)
    refused = sweeps("run", "wrong.yaml")
    assert refused.code == 2
    assert "wrong.yaml:6: average is 'swa', but the task trains by itself" in refused.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_drained_trial_starts_anew_in_its_folder(
    sweeps: Callable[..., Any],
    start: Callable[..., subprocess.Popen[str]],
    folder: Path,
    workers: str,
) -> None:
    text = SWEEP.replace("enqueue: [{fate: fails}, {fate: diverges}]\n", "").replace("12", "3")
    (folder / "sweep.yaml").write_text(text)
    (folder / "slow").touch()
    process = start("run", "sweep.yaml", "--tracking", "none", "--workers", workers)
    wait_for(lambda: list(folder.glob("sweeps-checkpoints/small-1/trials-*/0/calls")), 60)
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert {t["state"] for t in exported(sweeps)} == {"WAITING"}
    (folder / "slow").unlink()
    assert sweeps("run", "sweep.yaml", "--tracking", "none", "--workers", workers).code == 0
    trials = exported(sweeps)
    assert len(trials) == 3
    [calls] = folder.glob("sweeps-checkpoints/small-1/trials-*/0/calls")
    assert calls.read_text() == "xx"
    assert [epoch for epoch, _ in trials[0]["curves"]["val_loss"]] == list(range(1, 10))
    if workers == "1":
        assert sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm").code == 0
        calm = exported(sweeps, "calm")
        assert [comparable(t) for t in trials] == [comparable(t) for t in calm]


def test_sigterm_within_a_lightning_trainer_is_no_failure(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Its trainer answers the signal itself, by an exception at the next batch."""
    pytest.importorskip("lightning")
    example = Path(__file__).parents[2] / "examples" / "lightning.yaml"
    text = (
        example.read_text().replace("run_cap: 12", "run_cap: 1").replace("epochs: 9", "epochs: 6")
    )
    source = example.with_name("lightning_callback.py").read_text()
    (tmp_path / "lightning.yaml").write_text(text)
    (tmp_path / "lightning_callback.py").write_text(
        source.replace("import logging", "import logging\nimport pathlib\nimport time").replace(
            "x, y = batch",
            'x, y = batch\n        if pathlib.Path("slow").exists():\n'
            '            pathlib.Path("stepped").touch()\n            time.sleep(0.2)',
            1,
        )
    )
    (tmp_path / "slow").touch()
    process = start("run", "lightning.yaml", "--tracking", "none")
    wait_for((tmp_path / "stepped").exists)
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert [t["state"] for t in exported(sweeps, "lightning")] == ["WAITING"], out
    (tmp_path / "slow").unlink()
    done = sweeps("run", "lightning.yaml", "--tracking", "none")
    assert done.code == 0, done.err
    [trial] = exported(sweeps, "lightning")
    assert trial["outcome"] == "complete", trial
    assert [epoch for epoch, _ in trial["curves"]["val_accuracy"]] == [1, 2, 3, 4, 5, 6]
