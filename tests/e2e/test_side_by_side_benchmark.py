"""The side-by-side benchmark in small: the real commands, in this environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.side_by_side.__main__ import ENVIRONMENTS
from benchmarks.side_by_side.contenders import OPTUNA, OURS, RAY

ROOT = Path(__file__).parents[2]
SMALL = "--trials 8 --epochs 2 --lanes 4 --repeats 1 --seeds 3 --target 100 --markdown"


def run(output: Path, *more: str) -> tuple[dict[str, dict[str, float]], str]:
    command = [sys.executable, "-m", "benchmarks.side_by_side", *SMALL.split(), *more]
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    return {row["contender"]: row for row in result["rows"]}, done.stdout


def plausible(row: dict[str, float]) -> bool:
    """The whole work was done: the best trial learned, the worst ones ended after an epoch."""
    learned = 0 < row["best validation loss"] < 1 and 0.7 < row["test accuracy"] <= 1
    return learned and 8 < row["epochs"] <= 16 and 0 < row["seconds to target"] < row["seconds"]


def test_sweeplane_and_optuna_do_the_work(tmp_path: Path) -> None:
    ours, optuna = OURS[0], OPTUNA
    rows, said = run(tmp_path / "side.json", "--here", "--only", ours, optuna)
    assert all(plausible(rows[name]) for name in (ours, optuna))
    times = rows[optuna]["seconds"] / rows[ours]["seconds"]
    assert f"8 trials: {ours} is {times:.2f} times as fast as {optuna}" in said


@pytest.mark.skipif(not (ENVIRONMENTS / RAY).exists(), reason="made by benchmarks.side_by_side")
def test_ray_does_the_work(tmp_path: Path) -> None:
    rows, _ = run(tmp_path / "side.json", "--only", RAY)
    assert plausible(rows[RAY])
