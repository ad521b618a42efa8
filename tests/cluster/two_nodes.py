"""Two Ray nodes on this machine, four workers, one node killed in the middle; prints its figures.

    python -m tests.cluster.two_nodes [--address ADDRESS] [--output figures.json]

The node's processes get SIGKILL all at once, the workers that train there too. Exit code 1: a trial
was lost or doubled, or trained again from its first epoch. Needs `pip install 'sweeplane[ray]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from tests.e2e.faults.scene import SLOW, Scene
from tests.e2e.runs import SLOW_TASK
from tests.waiting import wait_for

ROOT = str(Path(__file__).parents[2])
WORKERS, TRIALS, EPOCHS, BATCH = 4, 40, 60, 15
STEPS = 150 // BATCH  # of an epoch
TASK = "import os\n" + SLOW_TASK.replace(
    "def make():",
    """def loss(output, target):
    if torch.is_grad_enabled():
        with open("trained.log", "a") as log:
            log.write(f"{os.getpid()}\\n")
    return F.cross_entropy(output, target)


def make():""",
).replace("loss=F.cross_entropy", "loss=loss")
FILE = SLOW.replace("slow.py", "counted.py").replace("batch_size: 4", f"batch_size: {BATCH}")
FILE = FILE.replace("epochs: 6", f"epochs: {EPOCHS}").replace("run_cap: 12", f"run_cap: {TRIALS}")


def main() -> None:
    """Run it, print the figures, and say by the exit code whether they are sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default=ray.util.get_node_ip_address(), help="of both nodes")
    parser.add_argument("--output", type=Path, help="where the figures go as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="two-nodes-") as folder:
        figures = run(Path(folder), given.address)
    text = json.dumps(figures, indent=2)
    print(text)  # noqa: T201
    if given.output:
        given.output.write_text(f"{text}\n")
    sys.exit(0 if sound(figures) else 1)


def run(folder: Path, address: str) -> dict[str, Any]:
    """Return the figures of one sweep in `folder`."""
    os.environ["PYTHONPATH"] = ROOT  # of Ray's workers too
    (folder / "sweep.yaml").write_text(FILE)
    (folder / "counted.py").write_text(TASK)
    node = {"num_cpus": WORKERS, "node_ip_address": address}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        second = cluster.add_node(**node)
        return _sweep(folder, cluster, second)
    finally:
        cluster.shutdown()


def _sweep(folder: Path, cluster: Cluster, second: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "sweeps", "run", "sweep.yaml", "--tracking", "none"]
    command += ["--on", "ray", "--address", cluster.address, "--workers", str(WORKERS)]
    command += ["--checkpoint-every", "1", "--lease-seconds", "3"]
    said = folder / "said.txt"
    began = time.monotonic()
    with Scene(folder, f"sqlite:///{folder / 'sweeps.db'}") as scene, said.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        try:
            wait_for(lambda: (folder / "sweeps.db").exists() or process.poll() is not None)
            wait_for(lambda: len(scene.running()) == WORKERS and len(scene.ended()) >= WORKERS)
            there, before = _descendants(second), scene.ended()
            doomed = [worker for worker in scene.trainers() if worker.process.pid in there]
            lost = {number for worker in doomed for number in scene.holds(worker)}
            for pid in there:
                psutil.Process(pid).kill()
            cluster.remove_node(second, allow_graceful=False)
            killed = time.monotonic()
            wait_for(lambda: len(scene.trainers()) == WORKERS or process.poll() is not None)
            back = time.monotonic() - killed if process.poll() is None else None
            code = process.wait(timeout=600)
        finally:
            if process.poll() is None:
                process.kill()
        attempts = scene.lease_column("attempt")
        after = scene.ended()
        return {
            "ray": ray.__version__,
            "nodes": 2,
            "workers": WORKERS,
            "workers_killed": len(doomed),
            "trials": TRIALS,
            "trials_ended": len(after),
            "numbers_without_gaps": [t.number for t in scene.trials()] == list(range(TRIALS)),
            "ended_before_and_changed": sum(after.get(n) != t for n, t in before.items()),
            "trials_lost_with_the_node": len(lost),
            "of_these_taken_on": sum(attempts[number] == 2 for number in lost),
            "epochs_trained": len((folder / "trained.log").read_text().split()) / STEPS,
            "epochs_wanted": TRIALS * EPOCHS,
            "seconds_until_all_workers_were_back": back and round(back, 1),
            "seconds": round(time.monotonic() - began, 1),
            "exit_code": code,
            "said": [line for line in said.read_text().splitlines() if "worker" in line],
        }


def _descendants(node: Any) -> list[int]:
    """The processes of a node's raylet, and those that they have started."""
    (raylet,) = node.all_processes["raylet"]
    found = psutil.Process(raylet.process.pid)
    return [*(child.pid for child in found.children(recursive=True)), found.pid]


def sound(figures: dict[str, Any]) -> bool:
    """Whether the budget was met exactly, and what was lost taken on from its checkpoints."""
    again = figures["epochs_trained"] - figures["epochs_wanted"]
    lost = figures["trials_lost_with_the_node"]
    return bool(
        figures["exit_code"] == 0
        and figures["workers_killed"] > 0
        and lost > 0
        and figures["trials_ended"] == TRIALS
        and figures["numbers_without_gaps"]
        and figures["ended_before_and_changed"] == 0
        and figures["of_these_taken_on"] == lost
        and 0 <= again <= 3 * lost  # the epoch that was cut, and one whose checkpoint was not there
    )


if __name__ == "__main__":
    main()
