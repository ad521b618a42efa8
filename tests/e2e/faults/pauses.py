"""SIGSTOP of a worker beyond its lease, and SIGCONT when another has its trial."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from functools import partial

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from studies.workers import Worker
from tests.e2e.faults.figures import Figures
from tests.e2e.faults.scene import SLOW, WITHOUT_END, Scene, lost
from tests.waiting import happens, wait_for

LEASE = 2.0
PATIENCE_SECONDS = 5.0


def beyond_the_lease(scene: Scene, dice: random.Random, pauses: int) -> Figures:
    """Pause one of two workers at random moments until the other has ended its trial.

    A worker that was stopped in the middle of a write holds the database's locks, as any process
    would: it is let go again at once and counted, and another is stopped instead.
    """
    scene.planned(SLOW, WITHOUT_END)
    with scene.figures("SIGSTOP beyond the lease, and back", pauses) as figures:
        pair = [scene.worker(LEASE) for _ in range(2)]
        workers = [scene.trainer(process) for process in pair]
        while figures.seen["holding a trial"] < pauses:
            process, worker = dice.choice(list(zip(pair, workers, strict=True)))
            wait_for(partial(scene.holds, worker))
            time.sleep(dice.random() * 0.6)
            os.kill(process.pid, signal.SIGSTOP)
            try:
                if _locked(scene):
                    figures.seen["in the middle of a write"] += 1
                elif held := scene.holds(worker):
                    figures.seen["holding a trial"] += 1
                    _pause(scene, figures, process, worker, held[0])
                else:
                    figures.seen["between two trials"] += 1
            finally:
                os.kill(process.pid, signal.SIGCONT)
        figures.check("exit codes", holds=scene.drain(*pair) == [130, 130])
    return figures


def _pause(
    scene: Scene,
    figures: Figures,
    process: subprocess.Popen[str],
    worker: Worker,
    number: int,
) -> None:
    """Wait until another has ended the trial of a stopped worker; wake that, and compare."""
    start, before = time.monotonic(), scene.ended()
    token = scene.lease_column("token")[number]
    if not happens(lambda: not scene.holds(worker), LEASE + PATIENCE_SECONDS):
        figures.left_running += 1
        return
    figures.took(time.monotonic() - start)
    wait_for(lambda: number in scene.ended())
    figures.check("token", holds=scene.lease_column("token")[number] > token)
    written = (scene.ended()[number], scene.curves(number))
    os.kill(process.pid, signal.SIGCONT)
    wait_for(partial(scene.holds, worker))  # it has dropped the trial and gone on
    figures.stale_writes += (scene.ended()[number], scene.curves(number)) != written
    figures.lost += lost(before, scene.ended())


def _locked(scene: Scene) -> bool:
    """Whether somebody holds the locks of a write for half a second."""
    try:
        if scene.database == "SQLite":
            file = sqlite3.connect(scene.storage.url.database or "", 0.5, isolation_level=None)
            with closing(file):
                file.execute("BEGIN IMMEDIATE")
        else:
            with scene.storage.engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = 500"))
                for table in ("studies", "trials", "leases"):
                    connection.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))
    except (OperationalError, sqlite3.OperationalError) as error:
        if "lock" not in str(error):
            raise
        return True
    return False
