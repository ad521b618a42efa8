"""SIGKILL: of one worker among others, as if elsewhere, before its first heartbeat, alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial

from studies.workers import Worker
from tests.e2e.faults.figures import Figures
from tests.e2e.faults.scene import SLOW, WITHOUT_END, Scene, lost
from tests.e2e.runs import SWEEP
from tests.waiting import happens, wait_for

PATIENCE_SECONDS = 5.0  # beyond a lease, until nothing of a dead worker is RUNNING
# A worker in a namespace of process ids of its own is, to the others, one on another machine: only
# its lease tells that it is dead.
ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def among_others(
    scene: Scene, dice: random.Random, kills: int, *, holding: bool = False
) -> Figures:
    """Kill workers of `sweeps run --workers 4` at random moments; then the same study again.

    At most five kills: `sweeps run` gives up on a worker that dies five times in a row. `holding`:
    only those that hold a trial.
    """
    lease, budget = 2.0, 14 + 6 * kills
    scene.write(SLOW, budget)
    with scene.figures("SIGKILL of one of four workers", kills) as figures:
        figures.wanted = budget
        run = scene.sweep(4, lease)
        for kill in range(kills):
            ready = partial(_at_work, scene, run, finished=2 + 4 * kill, workers=2)
            wait_for(ready)
            assert run.poll() is None, run.communicate()[0]
            time.sleep(dice.random() * 0.5)  # anywhere between two transactions
            victim = dice.choice(scene.trainers())
            while holding and not _stopped(scene, victim):
                victim = dice.choice(scene.trainers())
            _strike(
                scene, figures, victim, partial(os.kill, victim.process.pid, signal.SIGKILL), lease
            )
        said, _ = run.communicate(timeout=400)
        figures.check("exit code", holds=run.returncode == 0)
        figures.check("end", holds=f"Ended: all {budget} trials have run." in said)
        restarts = said.count("was killed by SIGKILL; it is started again in")
        figures.check("restart", holds=restarts > 0)
        code, said = scene.run("worker", "--study", "small")
        figures.check("relaunch", holds=code == 0 and f"all {budget} trials have run" in said)
    return figures


def elsewhere(scene: Scene, dice: random.Random, kills: int) -> Figures:
    """Kill workers of another machine, of which only the lease tells, while another lives."""
    lease = 2.0
    scene.planned(SLOW, WITHOUT_END)
    with scene.figures("SIGKILL of a worker on another machine", kills) as figures:
        pair = [_joined(scene, lease) for _ in range(2)]
        for _ in range(kills):
            time.sleep(dice.random() * 0.5)
            process, victim = pair.pop(0)
            _strike(scene, figures, victim, partial(_end, process), lease)
            pair.append(_joined(scene, lease))
        figures.check("drain", holds=_drained(scene, [process for process, _ in pair]))
    return figures


def before_its_first_heartbeat(scene: Scene, dice: random.Random, kills: int) -> Figures:
    """Kill workers that have asked for a trial, and not yet said once that they live."""
    lease, slow = 2.0, 60.0  # the victims would first beat 20 s after they began
    scene.planned(SLOW, WITHOUT_END)
    with scene.figures("SIGKILL between ask and first heartbeat", kills) as figures:
        survivor = scene.worker(lease)
        scene.trainer(survivor)
        coming = scene.worker(slow)
        while figures.seen["in time"] < kills:
            process, victim = coming, scene.trainer(coming)
            coming = scene.worker(slow)
            wait_for(partial(scene.holds, victim))
            time.sleep(dice.random() * 0.1)  # while it draws, or trains already
            _strike(scene, figures, victim, partial(_end, process), lease)
            early = scene.heartbeat(victim) == victim.heartbeat
            figures.seen["in time" if early else "too late"] += 1
        _end(coming)
        figures.check("drain", holds=_drained(scene, [survivor]))
    return figures


def alone(scene: Scene, dice: random.Random, kills: int) -> Figures:
    """Kill the only process of a sweep, look, and give the same command again."""
    budget = 8 * kills  # more than are run between the kills
    scene.write(SWEEP, budget)
    with scene.figures("SIGKILL of everything, then the same command", kills) as figures:
        figures.wanted = budget
        before = scene.ended()
        for _ in range(kills):
            run = scene.sweep(1, 15.0)
            goal = len(before) + dice.randint(1, 5)
            wait_for(partial(_at_work, scene, run, finished=goal))
            time.sleep(dice.random() * 0.05)
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            after = scene.ended()
            figures.lost += lost(before, after)
            figures.seen["left RUNNING by the kill"] += len(scene.running())
            before = after
        code, _ = scene.run("run", "sweep.yaml", "--tracking", "none")
        figures.check("exit code", holds=code == 0)
        figures.lost += lost(before, scene.ended())
    return figures


def _stopped(scene: Scene, worker: Worker) -> bool:
    """Stop a worker if it holds a trial."""
    os.kill(worker.process.pid, signal.SIGSTOP)
    held = bool(scene.holds(worker))
    if not held:
        os.kill(worker.process.pid, signal.SIGCONT)
    return held


def _at_work(scene: Scene, run: subprocess.Popen[str], *, finished: int, workers: int = 0) -> bool:
    ready = len(scene.ended()) >= finished and len(scene.trainers()) >= workers
    return ready or run.poll() is not None


def _strike(
    scene: Scene, figures: Figures, victim: Worker, kill: Callable[[], object], lease: float
) -> None:
    """Kill a worker, and look at what becomes of its trials."""
    before = scene.ended()
    kill()
    start = time.monotonic()
    held = scene.holds(victim)
    figures.seen["holding a trial" if held else "between two trials"] += 1
    if not happens(lambda: not scene.holds(victim), lease + PATIENCE_SECONDS):
        figures.left_running += len(scene.holds(victim))
    if held:
        figures.took(time.monotonic() - start)
    figures.lost += lost(before, scene.ended())


def _joined(scene: Scene, lease: float) -> tuple[subprocess.Popen[str], Worker]:
    """Start a worker on another machine, and wait until it works."""
    before = scene.newest()
    process = scene.worker(lease, ELSEWHERE)
    wait_for(lambda: any(worker.worker_id > before for worker in scene.trainers()))
    worker = max(scene.trainers(), key=lambda worker: worker.worker_id)
    wait_for(partial(scene.holds, worker))
    return process, worker


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _drained(scene: Scene, processes: list[subprocess.Popen[str]]) -> bool:
    """Ctrl-C, as a terminal sends it to the whole group."""
    for process in processes:
        os.killpg(process.pid, signal.SIGINT)
    for process in processes:
        process.communicate(timeout=200)
    return scene.running() == []
