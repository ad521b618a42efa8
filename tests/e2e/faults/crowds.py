"""Many processes at once: on one budget, on one file beside plain Optuna, on one expired lease."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import optuna
from sqlalchemy import update

from studies import claim, register, schema
from tests.e2e.conftest import environment
from tests.e2e.faults.figures import Figures
from tests.e2e.faults.scene import QUICK, Scene
from tests.waiting import wait_for

MEMBER = (sys.executable, str(Path(__file__).with_name("member.py")))


def on_one_budget(
    scene: Scene, dice: random.Random, repeats: int, *, workers: int = 8, budget: int = 100
) -> Figures:
    """Kill `sweeps run --workers N` at a random moment; the same command, and again when it has
    ended."""
    with scene.figures(f"{workers} workers on a budget, relaunched", repeats) as figures:
        figures.wanted = 0
        for repeat in range(1, repeats + 1):  # each raises the budget
            figures.wanted = budget * repeat
            scene.write(QUICK, figures.wanted)
            run = scene.sweep(workers, 2.0)
            goal = figures.wanted - dice.randint(budget // 4, budget * 3 // 4)
            wait_for(partial(_finished, scene, goal))
            os.kill(run.pid, signal.SIGKILL)  # its workers see that, and drain
            for _ in range(2):
                again = scene.sweep(workers, 2.0)
                said, _ = again.communicate(timeout=400)
                ended = f"all {figures.wanted} trials have run" in said
                figures.check("relaunch", holds=again.returncode == 0 and ended)
                figures.check("budget", holds=len(scene.ended()) == figures.wanted)
    return figures


def beside_plain_optuna(
    scene: Scene, _dice: random.Random, *, processes: int = 8, plain: int = 2, trials: int = 100
) -> Figures:
    """So many processes ask, report and tell as fast as they can, `plain` of them with Optuna's
    RDBStorage at its defaults."""
    study_id = scene.planned(QUICK, processes * trials)
    storage = scene.storage
    for trial_id in (trial._trial_id for trial in scene.trials()):  # the planned baseline
        storage.set_trial_state_values(trial_id, optuna.trial.TrialState.COMPLETE, [0.5])
    first = len(scene.trials())
    with scene.figures(f"{processes} processes on one file, {plain} of plain Optuna", 1) as figures:
        figures.wanted = processes * trials
        kinds = ["optuna" if n < plain else "ours" for n in range(processes)]
        counts = [trials - first if n == processes - 1 else trials for n in range(processes)]
        members = [
            _member(kind, scene.url, str(study_id), str(count))
            for kind, count in zip(kinds, counts, strict=True)
        ]
        for member in members:
            out, err = member.communicate(timeout=300)
            figures.check("errors", holds=member.returncode == 0 and not err)
            figures.wrong["locked"] += json.loads(out)["locked"] if out else err.count("is locked")
    return figures


def on_one_lease(scene: Scene, dice: random.Random, rounds: int) -> Figures:
    """Two processes claim one expired trial at one moment, again and again."""
    study_id = scene.planned(QUICK, 1)
    with scene.figures("two workers take over one trial at once", rounds) as figures:
        worker = register(scene.storage, study_id)
        (lease,) = claim(scene.storage, worker, 1, places=1).leases
        tokens = [lease.token]
        members = [_member("claims", scene.url, str(study_id), str(rounds)) for _ in range(2)]
        for _ in range(rounds):
            with scene.storage.engine.begin() as connection:
                connection.execute(update(schema.leases).values(expires_at=schema.utc_in(-1.0)))
            won = _race(members, dice.random() * 0.002)
            figures.check("won by one", holds=len(won) == 1)
            tokens += won
        figures.check("tokens", holds=tokens == sorted(set(tokens)))
        for member in members:
            _, err = member.communicate(timeout=200)
            figures.check("errors", holds=not err and member.returncode == 0)
        storage = scene.storage
        storage.set_trial_state_values(lease.trial_id, optuna.trial.TrialState.COMPLETE, [0.5])
        figures.most_attempts = None
    figures.most_attempts = None  # each round was a death
    return figures


def _finished(scene: Scene, goal: int) -> bool:
    return len(scene.ended()) >= goal


def _race(members: Sequence[subprocess.Popen[str]], apart: float) -> list[int]:
    """Let both go; return the tokens that they got."""
    for member, seconds in zip(members, (0.0, apart), strict=True):
        assert member.stdin is not None
        member.stdin.write(f"{seconds}\n")
        member.stdin.flush()
    tokens: list[int] = []
    for member in members:
        assert member.stdout is not None
        tokens += json.loads(member.stdout.readline())
    return tokens


def _member(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MEMBER, *arguments],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
