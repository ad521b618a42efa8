"""The samplers' benchmark in small, as `make bench` calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_it_runs_as_a_module_and_writes_its_figures(tmp_path: Path) -> None:
    output = tmp_path / "sampling.json"
    small = ["--seeds", "1", "--trials", "12", "--sizes", "30", "--lanes", "3", "--rounds", "1"]
    command = [sys.executable, "-m", "benchmarks.sampling", *small, "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    [refill] = result["refill"]
    seconds = refill["median seconds"]
    assert refill["optuna / ours"] == pytest.approx(seconds["optuna"] / seconds["ours"])
    assert [row["refill"] for row in result["quality"]] == [1, 16, 64]
    assert [(row["method"], row["refill"]) for row in result["edge"]] == [
        (method, refill) for method in ("tpe", "cmaes", "gp") for refill in (1, 8, 1, 8)
    ]
    assert f"30 finished: 3 asks take {seconds['ours']:.3f} s" in done.stdout
