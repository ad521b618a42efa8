"""A refill of the demo's conditional space at so many finished trials, beside Optuna's asks."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState, create_trial

from studies import (
    Drawn,
    Finish,
    Holding,
    Report,
    SweepRecord,
    create_sweep,
    open_storage,
    register,
)
from sweeps.asking import Asker
from sweeps.sampling import make_sampler, refills
from sweeps.space import Space
from sweeps.spec import load_spec
from sweeps.unit_cube import from_unit, to_unit

DEMO = Path(__file__).parents[1] / "examples" / "digits.yaml"


def optunas(sampler: Callable[..., BaseSampler], seed: int) -> Callable[[], BaseSampler]:
    """One sampler for all, as people use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = sampler(seed=seed)
    return lambda: made


def finished(space: Space, n: int) -> list[optuna.trial.FrozenTrial]:
    """Random trials of the demo's space: a tenth diverges, a half is pruned, the rest complete."""
    rng, flat = np.random.default_rng(0), space.flat()
    trials = []
    for _ in range(n):
        params = {name: from_unit(flat[name], rng.random()) for name in space.branching}
        own = [name for name in space.active(params) if name not in params]
        params |= {name: from_unit(flat[name], rng.random()) for name in own}
        lr = next(name for name in params if name.endswith(".lr"))
        place = to_unit(flat[lr], params[lr])
        state = TrialState.PRUNED if place > 0.9 or rng.random() < 0.5 else TrialState.COMPLETE
        trials.append(
            create_trial(
                state=state,
                value=-((place - 0.7) ** 2) if state == TrialState.COMPLETE else None,
                params=params,
                distributions={name: flat[name] for name in params},
                intermediate_values={3: -((place - 0.7) ** 2)},
                system_attrs={"constraints:diverged": float(place > 0.9)},
            )
        )
    return trials


def refill(size: int, lanes: int, rounds: int) -> dict[str, Any]:
    """Median seconds of a refill at `size` finished trials, ours and Optuna's in turns."""
    space = load_spec(DEMO).space
    found = finished(space, size)
    memory = optuna.create_study(direction="maximize")
    memory.add_trials(found)
    with tempfile.TemporaryDirectory() as folder, open_storage(f"sqlite:///{folder}/s.db") as db:
        record = SweepRecord(
            spec_text="", spec_file=None, spec={}, space={}, seed=0, environment={}
        )
        study_id = create_sweep(db, "refill", ["maximize"], record)
        holding = Holding(db, register(db, study_id))
        _write(holding, found)
        stored = optuna.load_study(study_name="refill", storage=db)
        asker = _asker(stored, holding, space)
        grouped = partial(TPESampler, multivariate=True, group=True)
        own = partial(make_sampler, "tpe", space, 0)
        runs: dict[str, tuple[optuna.Study, Callable[[], object]]] = {
            "ours": (stored, partial(asker.take, lanes)),
            "optuna": (stored, partial(_ask, stored, space, optunas(grouped, 0), lanes)),
            "ours, in memory": (memory, partial(_ask, memory, space, own, lanes)),
            "optuna, in memory": (memory, partial(_ask, memory, space, optunas(grouped, 0), lanes)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds + 1):  # the first warms up
            for name, (study, run) in runs.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
                _end(study)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    row = {"finished": size, "lanes": lanes, "rounds": rounds, "median seconds": medians}
    row["least seconds"] = {name: min(times[1:]) for name, times in seconds.items()}
    row["optuna / ours"] = medians["optuna"] / medians["ours"]
    row["optuna / ours, in memory"] = medians["optuna, in memory"] / medians["ours, in memory"]
    print(row, flush=True)
    return row


def _write(holding: Holding, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
    """Put finished trials into the study DB, as workers do."""
    db = holding.storage
    for first in range(0, len(trials), 500):
        part = trials[first : first + 500]
        ids = [lease.trial_id for lease in holding.claim(len(part)).leases]
        pairs = list(zip(ids, part, strict=True))
        drawn = [
            Drawn(
                i,
                {n: (d.to_internal_repr(t.params[n]), d) for n, d in t.distributions.items()},
                system_attrs=t.system_attrs,
            )
            for i, t in pairs
        ]
        db.draw(drawn, holding.fence)
        db.report([Report(i, 3, t.intermediate_values[3]) for i, t in pairs], holding.fence)
        db.finish([Finish(i, t.state, t.values) for i, t in pairs], holding.fence)
        holding.tokens.clear()


def _asker(study: optuna.Study, holding: Holding, space: Space) -> Asker:
    return Asker(
        study,
        holding,
        suggest=lambda trial: space.config(space.suggest(trial), epochs=30, batch_size=32),
        sampler=refills("tpe", space, 0),
        points=None,
        places=math.inf,
    )


def _ask(study: optuna.Study, space: Space, sampler: Callable[[], BaseSampler], lanes: int) -> None:
    study.sampler = sampler()
    for _ in range(lanes):
        space.suggest(study.ask())


def _end(study: optuna.Study) -> None:
    """No trial runs when the next refill begins."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
