"""Optuna's own tools on a study DB of ours: the dashboard and the `optuna` command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SWEEP = """
name: flowers
task: iris-mlp
optimizer: [adamw, sgd]
metric: {name: valid/accuracy, goal: maximize}
epochs: 4
run_cap: 6
"""


def test_optuna_dashboard_and_cli_read_the_study(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    assert sweeps("run", "sweep.yaml", "--tracking", "none").code == 0
    trials = json.loads(sweeps("export", "flowers").out)["trials"]
    url = f"sqlite:///{tmp_path}/sweeps.db"
    tools = Path(sys.executable).parent

    listed = subprocess.run(
        [tools / "optuna", "trials", "--storage", url, "--study-name", "flowers", "-f", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(listed.stdout)
    assert [row["number"] for row in rows] == [trial["number"] for trial in trials]
    assert [row["state"] for row in rows] == [trial["state"] for trial in trials]

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dashboard = subprocess.Popen(
        [tools / "optuna-dashboard", url, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (study,) = ask(port, "studies")["study_summaries"]
        assert study["study_name"] == "flowers"
        assert [d.lower() for d in study["directions"]] == ["maximize"]
        detail = ask(port, f"studies/{study['study_id']}")
        shown = {trial["number"]: trial for trial in detail["trials"]}
        assert sorted(shown) == [trial["number"] for trial in trials]
        for trial in trials:
            there = shown[trial["number"]]
            points = {p["step"]: p["value"] for p in there["intermediate_values"]}
            assert points == dict(trial["curves"]["valid/accuracy"])
            if trial["outcome"] == "complete":
                assert there["values"] == [trial["value"]]
    finally:
        dashboard.terminate()
        dashboard.wait(timeout=30)


def ask(port: int, path: str) -> Any:
    """GET from the dashboard's API, waiting for it to start."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/{path}", timeout=30
            ) as answer:
                return json.loads(answer.read())
        except OSError:
            assert time.monotonic() < end, "the dashboard did not answer within 60 s"
            time.sleep(0.1)
