"""A worker that is told to end: everything is handed back with a checkpoint, within the grace."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from safetensors import safe_open

from sweeps.state_tree import unflatten
from tests.e2e.faults.scene import Scene
from tests.waiting import wait_for

FILE = """
name: small
method: random
optimizer: [adamw, sgd]
schedule: [cosine, one_cycle]
early_terminate: none
precision: float64
compile: false
seed: 3
"""
MANY = FILE + "task: digits-mlp\nbatch_size: 64\nepochs: 30\nrun_cap: 64\nlanes: 64\n"
LONG = FILE + "task: own.py:make\nepochs: 4\nrun_cap: COUNT\nlanes: LANES\n"

# An epoch takes half a second and more; when the file "slow" is there, it takes minutes.
OWN = """
import pathlib, time
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from sweeps import Task

class Slow(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, place):
        time.sleep(20 if pathlib.Path("slow").exists() else PAUSE)
        return torch.randn(4), place % 3  # drawn anew, so it is not kept in memory

def make():
    x, y = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    train = DataLoader(Slow(), 4, shuffle=True, drop_last=True)
    return Task(model=lambda: nn.Linear(4, 3), train=train, valid=(x, y), loss=F.cross_entropy)
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}") as scene:
        yield scene


def reached(scene: Scene) -> dict[int, int]:
    """The last epoch of each trial that has one."""
    trials = scene.trials()
    return {t.number: max(t.intermediate_values) for t in trials if t.intermediate_values}


def kept(folder: Path) -> dict[int, int]:
    """The epoch of each trial's checkpoint."""
    found = {}
    for path in folder.glob("sweeps-checkpoints/small-1/*.safetensors"):
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
            tensors = dict.fromkeys(file.keys())
        state: dict[str, Any] = unflatten(json.loads(header["state"]), tensors)
        found[int(path.name.partition("-")[0])] = state["epoch"]
    return found


def terminated(worker: subprocess.Popen[str]) -> float:
    """How long it takes to end after a SIGTERM."""
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=60)
    took = time.monotonic() - began
    assert worker.returncode == 130, said
    assert "Ended: drained by a signal." in said
    assert "--grace" not in said  # there was time for every checkpoint
    return took


def check_taken_on(scene: Scene, count: int) -> None:
    """Another worker goes on with all of them, to the curves of a study that nobody cut."""
    code, said = scene.run("worker", "--study", "small")
    assert code == 0, said
    assert set(scene.lease_column("attempt").values()) == {1}  # nobody died
    code, said = scene.run("run", "sweep.yaml", "--tracking", "none", "--name", "calm")
    assert code == 0, said
    calm = scene.storage.get_all_trials(scene.storage.get_study_id_from_name("calm"))
    trials = scene.trials()
    assert len(trials) == len(calm) == count
    for trial, other in zip(trials, calm, strict=True):
        assert trial.state == other.state == TrialState.COMPLETE
        assert trial.params == other.params
        assert trial.intermediate_values == pytest.approx(other.intermediate_values, rel=1e-9)


def test_64_lanes_are_handed_back_and_taken_on(scene: Scene) -> None:
    scene.planned(MANY, 64)
    worker = scene.start("worker", "--study", "small")
    wait_for(lambda: len(reached(scene)) == 64 and min(reached(scene).values()) >= 3)
    took = terminated(worker)
    assert took < 10
    assert {trial.state for trial in scene.trials()} == {TrialState.WAITING}
    assert len(kept(scene.folder)) == 64
    assert kept(scene.folder) == reached(scene)
    check_taken_on(scene, 64)


@pytest.mark.parametrize(("lanes", "pause"), [(1, 0.06), (6, 0.01)])
def test_an_epoch_longer_than_the_grace_is_cut(scene: Scene, lanes: int, pause: float) -> None:
    (scene.folder / "own.py").write_text(OWN.replace("PAUSE", str(pause)))
    scene.planned(LONG.replace("LANES", str(lanes)).replace("COUNT", str(lanes)), lanes)
    worker = scene.start("worker", "--study", "small", "--grace", "3s")
    wait_for(lambda: len(reached(scene)) == lanes)
    (scene.folder / "slow").touch()
    before = reached(scene)
    took = terminated(worker)
    assert took < 5  # the last of it is Python's own end, on a busy machine
    assert {trial.state for trial in scene.trials()} == {TrialState.WAITING}
    assert kept(scene.folder) == reached(scene)
    assert all(before[number] <= epoch < 4 for number, epoch in kept(scene.folder).items())
    (scene.folder / "slow").unlink()
    check_taken_on(scene, lanes)
