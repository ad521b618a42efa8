"""`sweeps enqueue | retry | delete` on studies that ended, failed, or are being run."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import SWEEPS, environment
from tests.e2e.runs import SWEEP, exported, write

SMALL = SWEEP.replace("run_cap: 12", "run_cap: 3")
SLOW = """
name: small
task: slow.py:make
optimizer: sgd
baseline: false
epochs: 2000
run_cap: 3
early_terminate: none
"""
FLAKY = """
import pathlib
import torch.nn.functional as F
from torch import nn, ones
from sweeps import Task


def model():
    if pathlib.Path("broken").exists():
        if pathlib.Path("built").exists():
            raise ValueError("no luck")
        pathlib.Path("built").touch()
    return nn.Linear(2, 1)


def make():
    print("printed by the task")
    data = ones(64, 2), ones(64, 1)
    return Task(model=model, train=data, valid=data, loss=F.mse_loss)
"""
FLAKY_SWEEP = """
name: small
task: flaky.py:make
optimizer: sgd
epochs: 2
run_cap: 2
early_terminate: none
budget: {failures: 2}
"""
RUN = ("run", "sweep.yaml", "--tracking", "none")


def test_what_is_enqueued_runs_next(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    assert sweeps(*RUN).code == 0
    done = sweeps("enqueue", "small", "optimizer=sgd", "lr=0.123", "momentum=0.9")
    assert done.code == 0, done.err
    assert "Trial 3 waits: sgd x constant  lr=0.123  momentum=0.9" in done.out
    assert "raise it in the sweep file" in done.out
    (tmp_path / "more.yaml").write_text("- {lr: 0.01}\n- {lr: 0.02, epochs: 2}\n")
    told = sweeps("enqueue", "small", "--from-yaml", "more.yaml", "--json")
    added = json.loads(told.out)["enqueued"]
    assert [(each["number"], each["params"]["lr"]) for each in added] == [(4, 0.01), (5, 0.02)]

    write(tmp_path, SMALL.replace("run_cap: 3", "run_cap: 6"))
    assert sweeps(*RUN).code == 0
    trials = exported(sweeps)
    assert [trial["origin"] for trial in trials[3:]] == ["enqueued"] * 3
    assert [trial["params"]["lr"] for trial in trials[3:]] == [0.123, 0.01, 0.02]
    assert trials[5]["params"]["epochs"] == 2
    assert {trial["outcome"] for trial in trials} <= {"complete", "pruned"}


def test_faults_and_wrong_usage_are_the_users(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    assert sweeps(*RUN).code == 0
    for arguments, says in (
        (("enqueue", "small", "lrr=1", "optimizer=sgd"), "did you mean 'lr'"),
        (("enqueue", "small"), "KEY=VALUE... or --from-yaml FILE"),
        (("enqueue", "small", "lr=1", "--from-yaml", "x"), "either"),
        (("enqueue", "small", "--from-yaml", "none.yaml"), "none.yaml: cannot be read"),
        (("enqueue", "smal", "lr=1"), "did you mean 'small'"),
        (("retry", "small"), "either TRIAL... or --failed"),
        (("retry", "small", "7"), "has no trial 7"),
        (("delete", "smal", "--yes"), "did you mean 'small'"),
        (("delete", "small"), "Give --yes"),
    ):
        done = sweeps(*arguments)
        assert done.code == 2, arguments
        assert says in done.err, arguments
        assert "Traceback" not in done.err
    assert len(exported(sweeps)) == 3


def test_failed_trials_are_retried(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, FLAKY_SWEEP)
    (tmp_path / "flaky.py").write_text(FLAKY)
    (tmp_path / "broken").touch()
    assert sweeps(*RUN).code == 1
    assert [trial["outcome"] for trial in exported(sweeps)] == ["failed"] * 2
    (tmp_path / "broken").unlink()
    done = sweeps("retry", "small", "--failed", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["retried"] == [{"number": 2, "retry_of": 0}, {"number": 3, "retry_of": 1}]
    assert told["held_up"] == "nobody runs the study now: sweeps run FILE"
    assert "no failed trial" in sweeps("retry", "small", "--failed").out
    shown = sweeps("show", "small", "3")
    assert "a retry of trial 1" in shown.out
    assert json.loads(sweeps("show", "small", "3", "--json").out)["retry_of"] == 1
    assert json.loads(sweeps("show", "small", "1", "--json").out)["retry_of"] is None
    assert [trial["retry_of"] for trial in exported(sweeps)] == [None, None, 0, 1]
    assert "retry of" in sweeps("status", "small").out

    write(tmp_path, FLAKY_SWEEP.replace("failures: 2", "failures: 9"))
    ran = sweeps(*RUN)
    assert ran.code == 0, ran.err
    trials = exported(sweeps)
    assert [trial["outcome"] for trial in trials] == ["failed"] * 2 + ["complete"] * 2
    assert [t["params"] for t in trials[:2]] == [t["params"] for t in trials[2:]]
    told = sweeps("enqueue", "small", "lr=0.5", "--json")
    assert json.loads(told.out)["enqueued"][0]["number"] == 4  # nothing printed by the task


def answer(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SWEEPS, "delete", "small"],
        cwd=folder,
        env=environment(),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_is_deleted_after_a_yes(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    assert sweeps(*RUN).code == 0
    assert sweeps(*RUN, "--name", "other").code == 0
    kept = answer(tmp_path, "n\n")
    assert (kept.returncode, kept.stdout) == (1, "")
    assert "Delete study 'small' with 3 trials from sqlite:///sweeps.db?" in kept.stderr
    assert len(exported(sweeps)) == 3
    gone = answer(tmp_path, "y\n")
    assert gone.returncode == 0
    assert "Deleted study 'small' with 3 trials from sqlite:///sweeps.db" in gone.stdout
    assert "0 of its checkpoints from sweeps-checkpoints" in gone.stdout
    assert [study["name"] for study in json.loads(sweeps("list", "--json").out)] == ["other"]
    assert len(exported(sweeps, "other")) == 3
    left = tmp_path / "sweeps-checkpoints" / "other-2" / "0-1.safetensors"
    left.parent.mkdir(parents=True)
    left.touch()
    told = json.loads(sweeps("delete", "other", "--yes", "--json").out)
    assert told["rows"]["trials"] == 3
    assert told["checkpoints"] == {"folder": "sweeps-checkpoints", "removed": 1}
    assert not left.parent.exists()
    assert sweeps("storage", "check").code == 0
    assert sweeps(*RUN).code == 0  # the name is free again


def test_a_live_sweep(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path, SLOW)
    process = start(*RUN)
    try:
        wait(sweeps, lambda trials: trials[0]["outcome"] == "running")
        for arguments in (
            ("delete", "small", "--yes"),
            ("storage", "copy", "sqlite:///sweeps.db", "sqlite:///copy.db"),
        ):
            refused = sweeps(*arguments)
            assert refused.code == 2
            assert f"is being run by process {process.pid} " in refused.err
        assert not (tmp_path / "copy.db").exists()
        forced = sweeps("storage", "copy", "sqlite:///sweeps.db", "sqlite:///copy.db", "--force")
        assert forced.code == 0, forced.err
        assert "was being run" in forced.out
        assert sweeps("storage", "check").code == 0
        done = sweeps("enqueue", "small", "lr=0.05", "epochs=1")
        assert "The live sweep takes it up next." in done.out, done.err
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    left = sweeps("storage", "check", "--storage", "sqlite:///copy.db")
    assert left.code == 0
    assert "note: study 'small': 1 trial RUNNING, and nobody runs it (0)" in left.out


def wait(sweeps: Callable[..., Any], met: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Until the study is there and `met`."""
    end = time.monotonic() + 60
    while True:
        done = sweeps("export", "small")
        if done.code == 0:
            trials = json.loads(done.out)["trials"]
            if trials and met(trials):
                return
        assert time.monotonic() < end, done.err
