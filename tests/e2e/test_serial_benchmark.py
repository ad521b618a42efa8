"""The serial engine's benchmark in small, as `make bench` calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_it_runs_as_a_module_and_writes_its_figures(tmp_path: Path) -> None:
    output = tmp_path / "serial.json"
    command = [sys.executable, "-m", "benchmarks.serial", "--trials", "1", "--pairs", "1"]
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    [pair] = result["pairs"]
    assert result["ratio"] == pytest.approx(pair["sweeplane"] / pair["by_hand"])
    assert f"{result['ratio']:.2f} times as long" in done.stdout
