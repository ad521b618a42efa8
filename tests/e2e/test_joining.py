"""`sweeps worker` from anywhere: several at once, idle ones, other code and folders, JSON logs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from studies import queries
from tests.e2e.faults.scene import SLOW, Scene, children
from tests.waiting import wait_for

WORKER = ("worker", "--study", "small")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    folder = tmp_path / "made"
    folder.mkdir()
    with Scene(folder, f"sqlite:///{folder / 'sweeps.db'}") as scene:
        yield scene


def lines(text: str) -> list[dict[str, Any]]:
    """The JSON lines of what a process said; nothing else stands between them."""
    return [json.loads(line) for line in text.splitlines()]


def test_several_processes_join_and_one_that_is_killed_comes_again(scene: Scene) -> None:
    scene.planned(SLOW, 40)
    joined = scene.start(*WORKER, "--count", "2", "--lease-seconds", "1", "--log", "json")
    wait_for(lambda: len(scene.running()) == 2)
    os.kill(children(joined.pid)[0], signal.SIGKILL)
    wait_for(lambda: len(scene.trainers()) == 1)
    wait_for(lambda: len(scene.trainers()) == 2)
    joined.send_signal(signal.SIGTERM)
    said = lines(joined.communicate(timeout=60)[0])
    assert joined.returncode == 130, said
    assert scene.running() == []
    assert queries.status(scene.storage, "small").status == "drained"
    assert {line["study"] for line in said} == {"small"}
    events = [line["event"] for line in said]
    assert any("was killed by SIGKILL" in event for event in events), events
    assert events[-1] == "Ended: drained by a signal."
    taken = [line for line in said if line["event"] == "trial taken"]
    assert len({line["worker"] for line in taken}) == 3  # the last one in the place of the first
    ended = {line["trial"]: line for line in said if line["event"] == "trial ended"}
    assert {number: line["value"] for number, line in ended.items()} == {
        number: trial.value for number, trial in scene.ended().items()
    }
    back = {line["trial"] for line in said if line["event"] == "trial handed back"}
    waiting = [trial for trial in scene.trials() if trial.state == TrialState.WAITING]
    assert {trial.number for trial in waiting if trial.intermediate_values} == back


def test_an_idle_worker_leaves_a_sweep_that_is_not_at_its_end(scene: Scene) -> None:
    scene.planned(SLOW, 4)
    assert scene.run("pause", "small")[0] == 0
    code, said = scene.run(*WORKER, "--idle-exit", "1s")
    assert code == 0, said
    assert "Ended: no trial for 1 s." in said
    assert queries.status(scene.storage, "small").status == "drained"
    assert scene.ended() == {}


def test_a_task_file_that_has_changed_is_refused(scene: Scene) -> None:
    scene.planned(SLOW, 2)
    file = scene.folder / "slow.py"
    file.write_text(file.read_text() + "# changed\n")
    code, said = scene.run(*WORKER)
    assert code == 2
    assert f"Error: study 'small': {file} is not the code that the study was last run with" in said
    assert "give --allow-code-drift" in said
    code, said = scene.run(*WORKER, "--log", "json")
    (line,) = lines(said)
    assert (code, line["level"], line["trial"]) == (2, "error", None)
    assert scene.trials()[0].state == TrialState.WAITING
    code, said = scene.run("run", "sweep.yaml", "--tracking", "none")  # whose file it is
    assert code == 0, said
    assert f"Warning: {file} has changed since study 'small' was last run" in said


def test_drift_may_be_allowed(scene: Scene) -> None:
    scene.planned(SLOW, 2)
    file = scene.folder / "slow.py"
    file.write_text(file.read_text() + "# changed\n")
    code, said = scene.run(*WORKER, "--allow-code-drift")
    assert code == 0, said
    assert len(scene.ended()) == 2


def test_a_worker_finds_the_task_file_below_its_own_folder(scene: Scene) -> None:
    scene.planned(SLOW, 2)
    elsewhere = scene.folder.with_name("elsewhere")
    elsewhere.mkdir()
    task = scene.folder / "slow.py"
    text = task.read_text()
    task.unlink()
    with Scene(elsewhere, scene.url) as other:
        code, said = other.run(*WORKER)
        assert code == 2
        assert f"neither as {task} nor as {elsewhere / 'slow.py'}" in said
        assert "Code is not taken from the study DB" in said
        (elsewhere / "slow.py").write_text(text)
        code, said = other.run(*WORKER)
        assert code == 0, said
    assert len(scene.ended()) == 2
