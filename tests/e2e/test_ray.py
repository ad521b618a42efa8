"""`sweeps run --on ray` on one local node; `tests/cluster/two_nodes.py` kills one of two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from studies import queries
from sweeps.cli import main
from tests.e2e.conftest import environment
from tests.e2e.faults.scene import SLOW, Scene
from tests.waiting import wait_for

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
RUN = (sys.executable, "-m", "sweeps", "run", "sweep.yaml", "--tracking", "none")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}") as scene:
        yield scene


@needs_ray
def test_actors_drain_at_ctrl_c_and_go_on(scene: Scene) -> None:
    scene.write(SLOW, 8)
    command = [*RUN, "--on", "ray", "--workers", "2"]
    more = {"cwd": scene.folder, "env": environment(), "text": True}
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    try:
        wait_for(lambda: (scene.folder / "sweeps.db").exists() or first.poll() is not None)
        wait_for(lambda: len(scene.running()) == 2 or first.poll() is not None)
        os.kill(first.pid, signal.SIGINT)
        said, _ = first.communicate(timeout=120)
    finally:
        first.kill()
    assert first.returncode == 130, said
    assert scene.running() == []
    assert queries.status(scene.storage, "small").status == "drained"
    done = subprocess.run(command, capture_output=True, timeout=240, check=False, **more)
    assert done.returncode == 0, done.stderr
    assert [trial.number for trial in scene.trials()] == list(range(8))
    assert len(scene.ended()) == 8
    assert set(scene.lease_column("attempt").values()) == {1}  # nobody died


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_is_said_how_to_get_it(scene: Scene) -> None:
    scene.write(SLOW.replace("workers: 1", "workers: 2"), 8)
    done = CliRunner().invoke(main, ["run", str(scene.folder / "sweep.yaml"), "--on", "ray"])
    assert done.exit_code == 2
    assert "--on ray needs Ray: pip install 'sweeplane[ray]'" in done.output
