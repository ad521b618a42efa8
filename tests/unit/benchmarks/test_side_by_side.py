"""The side-by-side benchmark: everyone does the same work, and the figures are what they say."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from benchmarks.side_by_side import figures, watching, work
from benchmarks.side_by_side.contenders import SWEEP
from benchmarks.side_by_side.watching import watch
from sweeps.spec import load_spec
from sweeps.tasks.builtin import digits_mlp


def test_the_sweep_file_says_what_the_scripts_do() -> None:
    spec = load_spec(SWEEP)
    flat = spec.space.flat()
    assert {name: (each.low, each.high) for name, each in flat.items()} == {
        name: pytest.approx(span) for name, span in work.SPACE.items()
    }
    assert all(each.log for each in flat.values())
    assert spec.batch_size == work.BATCH_SIZE
    assert (spec.optimizer, spec.schedule) == (("adamw",), ("constant",))


def test_the_data_and_the_initial_weights_are_the_task_s() -> None:
    task, data = digits_mlp(depth=1), work.load()
    for own, theirs in zip((task.train, task.valid, task.test), data, strict=True):
        for tensor, other in zip(own, theirs, strict=True):
            torch.testing.assert_close(tensor, other, rtol=0, atol=0)
    torch.manual_seed(7)
    weights = task.model().state_dict()
    torch.manual_seed(7)
    for (name, own), (other, theirs) in zip(
        weights.items(), work.network().state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(own, theirs)


def test_a_command_is_watched_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MEMORY_SECONDS", 0.1)
    child = (
        "import time; held = bytearray(200_000_000); held[::4096] = b'x' * 48829; time.sleep(0.6)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print(3)"
    looks = iter([False, False, True])
    watched = watch([sys.executable, "-c", parent], os.environ, lambda: next(looks))
    assert watched.output == "3\n"
    assert watched.target_seconds is not None
    assert 0.1 <= watched.target_seconds < watched.seconds - 0.2
    if sys.platform == "linux":
        assert watched.peak_bytes is not None
        assert 2e8 < watched.peak_bytes < 3e8


def test_a_command_that_fails_is_said() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such study')"]
    with pytest.raises(RuntimeError, match="ended with 1:\nno such study"):
        watch(command, os.environ, lambda: False)


def row(contender: str, trials: int, seconds: list[float], epochs: int) -> dict[str, object]:
    rounds = [
        {
            "seconds": each,
            "seconds to target": None if each > 20 else each / 2,
            "best validation loss": 0.1,
            "test accuracy": 0.98,
            "epochs": epochs,
            "peak MB": 1000,
        }
        for each in seconds
    ]
    made = {"contender": contender, "trials": trials, "rounds": rounds}
    return made | figures.summary(rounds)


def test_ratios_are_of_pairs_and_growth_is_over_epochs() -> None:
    rows = [
        row("sweeplane", 256, [5, 4, 10], 1000),
        row("optuna", 256, [10, 40, 30], 1300),
        row("sweeplane", 1024, [10, 15, 30], 4000),
        row("optuna", 1024, [60, 60, 60], 5200),
    ]
    assert [(each["trials"], each["times"]) for each in figures.ratios(rows)] == [
        (256, 3),
        (1024, 4),
    ]
    ours, theirs = figures.growth(rows)
    assert (ours["seconds"], ours["epochs"], ours["ratio"]) == (3, 4, 0.75)
    assert (theirs["contender"], theirs["ratio"]) == ("optuna", 0.5)
    assert rows[0]["seconds to target"] == 2.5
    assert rows[1]["seconds to target"] is None  # two of three rounds have not reached it
    told = figures.lines({"ratios": figures.ratios(rows), "growth": [ours]})
    assert told[1] == "1024 trials: sweeplane is 4.00 times as fast as optuna"
    assert told[2].endswith(
        "of 1024 trials is 3.00 times that of 256, 0.75 times what the epochs are"
    )
    assert "| 256 | optuna | 30.0 | - | 0.1000 | 0.9800 | 1,300 | 1,000 |" in figures.markdown(rows)
