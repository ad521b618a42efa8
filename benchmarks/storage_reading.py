"""Reads of a study of 10,000 trials x 50 epochs with four curves each, all but 64 complete.

resume      a new storage object to all trials in memory; Optuna's own beside it
decisions   64 of ASHA on trials at epoch 16, nothing noted of them yet: from all trials in
            memory (a pass over the sorted columns here, over the trials in Optuna), and whole,
            with the look at the study and the write of what was noted
queries     of `studies.queries`
"""

from __future__ import annotations

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState

from benchmarks.storage_databases import Databases
from benchmarks.storage_writers import EXTRA, RECORD, SPACE
from studies import (
    Drawn,
    Finish,
    Holding,
    Report,
    StudyStorage,
    create_sweep,
    open_storage,
    queries,
    register,
)
from studies.rungs import AshaPruner
from sweeps.pruning import stopped

NAMES = {
    "alone": "64 ASHA decisions alone",
    "alone, Optuna": "64 ASHA decisions alone, Optuna",
    "with look and write": "64 ASHA decisions with look and write",
    "with look and write, Optuna": "64 ASHA decisions with look and write, Optuna",
}
STUDY, AT_ONCE, LANES, AT_EPOCH = "large", 250, 64, 16
RUNGS = ("completed_rung_0", "completed_rung_1", "completed_rung_2")


def fill(storage: StudyStorage, trials: int, epochs: int) -> Holding:
    """Writes the complete trials, whose rungs are noted as ASHA would."""
    study_id = create_sweep(storage, STUDY, ["minimize"], RECORD)
    holding = Holding(storage, register(storage, study_id))
    for first in range(0, trials, AT_ONCE):
        ids = begin(holding, min(AT_ONCE, trials - first), epochs)
        ended = [Finish(i, TrialState.COMPLETE, [v], {"outcome": "complete"}) for i, v in ids]
        rungs = {i: {rung: random.random() for rung in RUNGS} for i, _ in ids}
        storage.set_system_attrs(rungs, holding.fence)
        storage.finish(ended, holding.fence)
        holding.tokens.clear()
    return holding


def begin(holding: Holding, n: int, epochs: int) -> list[tuple[int, float]]:
    """Trials that run, with so many epochs: their ids and last values."""
    storage = holding.storage
    ids = [lease.trial_id for lease in holding.claim(n).leases]
    drawn = [Drawn(i, {p: (random.random(), d) for p, d in SPACE.items()}) for i in ids]
    storage.draw(drawn, holding.fence)
    values = [random.random() for _ in ids]
    points = [
        Report(trial, step, value + 1 / step, EXTRA)
        for trial, value in zip(ids, values, strict=True)
        for step in range(1, epochs + 1)
    ]
    storage.report(points, holding.fence)
    return list(zip(ids, values, strict=True))


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def resume(url: str) -> list[optuna.trial.FrozenTrial]:
    """The trials as `sweeps run` loads them when it begins again."""
    with open_storage(url) as storage:
        return optuna.load_study(study_name=STUDY, storage=storage).get_trials(deepcopy=False)


def resume_optuna(url: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=STUDY, storage=url).get_trials(deepcopy=False)


def in_memory(trials: Sequence[optuna.trial.FrozenTrial]) -> optuna.Study:
    """A study whose trials cost nothing to look at, and which forgets what is noted."""
    forget = SimpleNamespace(set_trial_system_attr=lambda *_: None)
    return cast(
        optuna.Study,
        SimpleNamespace(
            get_trials=lambda **_: trials,
            direction=optuna.study.StudyDirection.MINIMIZE,
            _storage=forget,
        ),
    )


def decisions(holding: Holding, url: str, repeats: int) -> dict[str, float]:
    """Seconds of 64 decisions, each time on trials that nobody has judged: the median."""
    storage, found = holding.storage, defaultdict(list)
    pruner, optunas = AshaPruner(1, 4), SuccessiveHalvingPruner(1, 4)
    study = optuna.load_study(study_name=STUDY, storage=storage, pruner=pruner)
    theirs = optuna.load_study(study_name=STUDY, storage=url)
    for turn in range(2 * repeats):
        ids = {trial_id for trial_id, _ in begin(holding, LANES, AT_EPOCH)}
        trials = study.get_trials(deepcopy=False)
        judged = [trial for trial in trials if trial._trial_id in ids]
        numbers = [trial.number for trial in judged]
        memory, alone = in_memory(trials), AshaPruner(1, 4)
        alone.judge(memory, trials, [])
        actions: dict[str, Callable[[], object]] = {
            "alone": lambda: alone.judge(memory, trials, judged),  # noqa: B023
            "alone, Optuna": lambda: [optunas.prune(memory, each) for each in judged],  # noqa: B023
        }
        if turn % 2:
            name = "with look and write"
            actions[name] = lambda: stopped(study, storage, numbers, holding.fence)  # noqa: B023
        else:
            theirs.get_trials(deepcopy=False)
            name = "with look and write, Optuna"
            actions[name] = lambda: [optunas.prune(theirs, each) for each in judged]  # noqa: B023
        for name, action in actions.items():
            found[name].append(seconds(action))
        storage.finish([Finish(i, TrialState.COMPLETE, [1.0]) for i in ids], holding.fence)
        holding.tokens.clear()
    return {name: statistics.median(values) for name, values in found.items()}


def measure(
    databases: Databases, database: str, trials: int, epochs: int, repeats: int
) -> dict[str, Any]:
    """Every figure on one database, in seconds: medians, but of Optuna's resume."""
    with databases.fresh(database) as url, open_storage(url) as storage:
        start = time.perf_counter()
        holding = fill(storage, trials, epochs)
        filled = time.perf_counter() - start
        found = [resume_optuna(url), resume(url)]
        if any(sum(len(t.intermediate_values) for t in f) != trials * epochs for f in found):
            raise RuntimeError(f"{database}: not {trials} trials of {epochs} epochs")

        def median(action: Callable[[], object]) -> float:
            return statistics.median(seconds(action) for _ in range(repeats))

        figures = {
            "fill": filled,
            "resume": median(lambda: resume(url)),
            "resume, Optuna": seconds(lambda: resume_optuna(url)),
            "decisions": decisions(holding, url, repeats),
            "leaderboard, top 20": median(lambda: queries.leaderboard(storage, STUDY, 20)),
            "leaderboard": median(lambda: queries.leaderboard(storage, STUDY)),
            "curves of 10": median(lambda: queries.curves(storage, STUDY, range(10))),
            "status": median(lambda: queries.status(storage, STUDY)),
        }
    return {"database": database, "trials": trials, "epochs": epochs, "seconds": figures}


def markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| ms | " + " | ".join(row["database"] for row in rows) + " |"]
    lines.append("|---|" + "--:|" * len(rows))
    figures = [{**row["seconds"], **row["seconds"]["decisions"]} for row in rows]
    for name in figures[0]:
        if name != "decisions":
            cells = " | ".join(f"{figure[name] * 1000:,.1f}" for figure in figures)
            lines.append(f"| {NAMES.get(name, name)} | {cells} |")
    return lines
