"""Optuna's own tools on a study DB of ours: the dashboard, the `optuna` command, `load_study`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from tests.e2e.faults.figures import Figures
from tests.e2e.faults.scene import Scene
from tests.e2e.runs import SWEEP

TOOLS = Path(sys.executable).parent
OBJECTIVE = "valid/accuracy"
Trial = Mapping[str, Any]


def after_four_workers(scene: Scene, trials: int) -> Figures:
    """Four workers write a study; each tool must read what `sweeps export` says."""
    scene.write(SWEEP, trials)
    with scene.figures("Optuna's tools on what 4 workers wrote", 1) as figures:
        figures.wanted = trials
        said, _ = (run := scene.sweep(4, 2.0)).communicate(timeout=400)
        assert run.returncode == 0, said
        figures.seen["workers"] = len(set(scene.lease_column("worker_id").values()))
        code, exported = scene.run("export", "small")
        assert code == 0, exported
        expected = [_expected(trial) for trial in json.loads(exported)["trials"]]
        readers = {
            "load_study": by_load_study(scene.url),
            "optuna command": by_command(scene.url),
            "dashboard": by_dashboard(scene.url),
        }
        for name, found in readers.items():
            figures.wrong[name] += _differences(expected, found)
    return figures


def _expected(trial: Trial) -> Trial:
    """What Optuna calls the parts of a trial of `sweeps export`."""
    return {
        "number": trial["number"],
        "state": trial["state"],
        "value": trial["value"] if trial["state"] == "COMPLETE" else None,
        "params": trial["sampled"],
        "curve": dict(trial["curves"].get(OBJECTIVE, ())),
    }


def _differences(expected: Sequence[Trial], found: Sequence[Trial]) -> int:
    """How many parts of trials differ, of those that a tool tells."""
    if [trial["number"] for trial in found] != [trial["number"] for trial in expected]:
        return max(len(expected), 1)
    return sum(
        ours[part] != value
        for ours, theirs in zip(expected, found, strict=True)
        for part, value in theirs.items()
    )


def by_load_study(url: str) -> list[Trial]:
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name="small", storage=storage)
    found: list[Trial] = [
        {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value if trial.state.name == "COMPLETE" else None,
            "params": trial.params,
            "curve": trial.intermediate_values,
        }
        for trial in study.get_trials(deepcopy=False)
    ]
    storage.remove_session()
    storage.engine.dispose()
    return found


def by_command(url: str) -> list[Trial]:
    listed = subprocess.run(
        [TOOLS / "optuna", "trials", "--storage", url, "--study-name", "small", "-f", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        {
            "number": row["number"],
            "state": row["state"],
            "params": row["params"],
            **({"value": _only(row["value"])} if row["state"] == "COMPLETE" else {}),
        }
        for row in json.loads(listed.stdout)
    ]


def _only(value: Any) -> Any:
    """The value of the one objective, which the command may show by its name."""
    return next(iter(value.values())) if isinstance(value, dict) else value


def by_dashboard(url: str) -> list[Trial]:
    """What the dashboard's own pages fetch."""
    with dashboard(url) as port:
        (study,) = ask(port, "studies")["study_summaries"]
        assert study["study_name"] == "small"
        assert [direction.lower() for direction in study["directions"]] == ["maximize"]
        trials = ask(port, f"studies/{study['study_id']}")["trials"]
    return [
        {
            "number": trial["number"],
            "state": {"Complete": "COMPLETE", "Pruned": "PRUNED"}.get(trial["state"]),
            "curve": {point["step"]: point["value"] for point in trial["intermediate_values"]},
            **({"value": trial["values"][0]} if trial["state"] == "Complete" else {}),
        }
        for trial in sorted(trials, key=lambda trial: trial["number"])
    ]


@contextmanager
def dashboard(url: str) -> Iterator[int]:
    """The dashboard on a port of its own, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen(
        [TOOLS / "optuna-dashboard", url, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(port: int, path: str) -> Any:
    """GET from the dashboard's API, waiting for it to start."""
    end = time.monotonic() + 60
    address = f"http://127.0.0.1:{port}/api/{path}"
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.loads(answer.read())
        except OSError:
            assert time.monotonic() < end, "the dashboard did not answer within 60 s"
            time.sleep(0.1)
