"""Sweeps whose workers train several trials at once: the same results as one by one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies import open_storage, queries
from tests.e2e.runs import exported, write
from tests.waiting import wait_for

SWEEP = """
name: small
task: iris-mlp
method: random
optimizer: [adamw, sgd, schedule_free_adamw, lion]
schedule: [cosine, one_cycle, plateau]
average: [none, ema]
precision: float64
early_terminate: none
epochs: 5
run_cap: 14
seed: 3
lanes: LANES
"""


def values(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = ("number", "outcome", "params", "curves", "test", "epochs")
    return [{name: trial[name] for name in kept} for trial in trials]


def assert_alike(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    for own, other in zip(values(found), values(wanted), strict=True):
        for kind in ("curves", "test"):
            flat = [pytest.approx(x, rel=1e-8) for x in flattened(other.pop(kind))]
            assert flattened(own.pop(kind)) == flat, own
        assert own == other


def flattened(curves: dict[str, Any]) -> list[float]:
    return [x for _, curve in sorted(curves.items()) for x in (
        [v for point in curve for v in point] if isinstance(curve, list) else [curve]
    )]  # fmt: skip


def test_lanes_give_the_results_of_one_by_one(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    found = []
    for lanes in ("1", "5"):
        (tmp_path / "sweeps.db").unlink(missing_ok=True)
        write(tmp_path, SWEEP.replace("LANES", lanes))
        ran = sweeps("run", "sweep.yaml", "--tracking", "none", "--json")
        assert ran.code == 0, ran.err
        found.append(exported(sweeps))
    assert len(found[0]) == 14
    assert_alike(found[1], found[0])


def test_a_drained_sweep_goes_on_in_lanes_from_its_checkpoints(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    text = SWEEP.replace("LANES", "4").replace("epochs: 5", "epochs: 60")
    write(tmp_path, text)
    calm = sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm")
    assert calm.code == 0, calm.err
    run = start("run", "sweep.yaml", "--tracking", "none")
    with open_storage(f"sqlite:///{tmp_path / 'sweeps.db'}") as storage:
        wait_for(lambda: _epochs(storage) >= 20 or run.poll() is not None)
        os.kill(run.pid, signal.SIGINT)
        out, _ = run.communicate(timeout=60)
        assert run.returncode == 130, out
        waiting = queries.status(storage, "small").waiting
        assert waiting == 4, out
    again = sweeps("run", "sweep.yaml", "--tracking", "none")
    assert again.code == 0, again.err
    assert_alike(exported(sweeps), exported(sweeps, "calm"))


def _epochs(storage: Any) -> int:
    """How far the trial that came farthest is."""
    if all(study.name != "small" for study in queries.studies(storage)):
        return 0
    return max((row.epochs or 0 for row in queries.leaderboard(storage, "small")), default=0)
