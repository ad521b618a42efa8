"""What `workers: auto` means: on which devices, and how many for so many trials."""

from __future__ import annotations

from pathlib import Path

import joblib
import pytest
import torch

from sweeps import crowd
from sweeps.crowd import devices_of
from sweeps.spec import Spec, load_spec


def spec(folder: Path, text: str) -> Spec:
    path = folder / "sweep.yaml"
    path.write_text(f"task: iris-mlp\n{text}\n")
    return load_spec(path)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """16 cores, 4 GPUs."""
    monkeypatch.setattr(joblib, "cpu_count", lambda **_: 16)
    monkeypatch.setattr(crowd, "version", lambda _: "2.13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    return monkeypatch


FOUR = ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("run_cap: 200", FOUR),
        ("run_cap: 200\ndevice: cuda", FOUR),
        ("run_cap: 200\ndevice: cuda:2", ["cuda:2"]),
        ("run_cap: 200\ndevice: cpu", ["cpu"] * 16),
        ("run_cap: 3\nmethod: random", FOUR[:3]),
        ("run_cap: 17", FOUR[:2]),  # TPE has an eighth of the budget in training at once
        ("run_cap: 15\ndevice: cpu\nmethod: random", ["cpu"]),
        ("run_cap: 47\ndevice: cpu\nmethod: random", ["cpu"] * 5),
        ("run_cap: 200\nworkers: 3", ["auto"] * 3),
    ],
)
def test_auto_on_a_large_machine(tmp_path: Path, text: str, wanted: list[str]) -> None:
    assert devices_of(spec(tmp_path, text)) == wanted


def test_a_machine_without_gpus_trains_on_its_cores(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_of(spec(tmp_path, "run_cap: 200")) == ["cpu"] * 16
    assert devices_of(spec(tmp_path, "run_cap: 200\ndevice: cuda")) == ["cuda"]
