"""Our samplers beside Optuna's: what a refill costs, how good it is, and how often it diverges.

refill     64 lanes asked at once of a study of the demo's conditional space in SQLite, to the last
           write: our `Asker`, and Optuna's grouped TPE through `study.ask` and the same suggest
           calls on the same database; and the drawing alone, in memory
quality    the best value of 200 trials on a 4-d sphere in logarithms
edge       the share of later asks that diverge where 5 % of the space does: lr above a threshold,
           or lr / (1 - momentum) above one, the optimum just before it

    python -m benchmarks.sampling [--seeds 10] [--trials 200] [--sizes 1000 10000] [--lanes 64]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
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
from sweeps.sampling import make_sampler
from sweeps.space import Space
from sweeps.spec import load_spec
from sweeps.unit_cube import from_unit, to_unit

DEMO = Path(__file__).parents[1] / "examples" / "digits.yaml"
SPHERE = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "one_minus_momentum": FloatDistribution(1e-3, 1.0, log=True),
    "weight_decay": FloatDistribution(1e-7, 0.1, log=True),
    "eps": FloatDistribution(1e-10, 1e-4, log=True),
}
NOWHERE = {"lr": 0.6, "one_minus_momentum": 0.35, "weight_decay": 0.45, "eps": 0.7}
# name -> (where the optimum is in the unit cube, what diverges: 5 % of it)
Edge = tuple[Mapping[str, float], Callable[[Mapping[str, float]], bool]]
EDGES: dict[str, Edge] = {
    "none": (NOWHERE, lambda _: False),
    "lr": (NOWHERE | {"lr": 0.92}, lambda u: u["lr"] > 0.95),
    "lr / (1 - momentum)": (
        NOWHERE | {"lr": 0.82, "one_minus_momentum": 0.18},
        lambda u: u["lr"] - u["one_minus_momentum"] > 1 - math.sqrt(0.1),
    ),
}


class Flat(Space):
    """A space of distributions alone, as `study.ask` takes them."""

    def flat(self) -> dict[str, BaseDistribution]:
        return dict(SPHERE)

    def active(self, choices: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(SPHERE)


FIRST_SEED = 100  # the threshold of `sweeps.sampling.feasibility` was chosen on seeds from 0 on
FLAT = Flat((), ("sgd",), ("constant",))


def ours(method: str, seed: int) -> Callable[[], BaseSampler]:
    """A sampler a refill, as the asker makes it."""
    return partial(make_sampler, method, FLAT, seed)


def optunas(sampler: Callable[..., BaseSampler], seed: int) -> Callable[[], BaseSampler]:
    """One sampler for all, as people use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = sampler(seed=seed)
    return lambda: made


def search(
    sampler: Callable[[], BaseSampler], edge: str, trials: int, refill: int
) -> tuple[float, list[bool]]:
    """Run one search; return its best value and which trials diverged."""
    optimum, diverges = EDGES[edge]
    study, best, diverged = optuna.create_study(), math.inf, []
    while len(diverged) < trials:
        study.sampler = sampler()
        asked = [study.ask(SPHERE) for _ in range(min(refill, trials - len(diverged)))]
        for trial in asked:
            u = {name: to_unit(d, trial.params[name]) for name, d in SPHERE.items()}
            diverged.append(diverges(u))
            trial.set_constraint("diverged", float(diverged[-1]))
            if diverged[-1]:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                value = sum((u[name] - optimum[name]) ** 2 for name in u)
                best = min(best, value)
                study.tell(trial, value)
    return best, diverged


def quality(seeds: int, trials: int) -> list[dict[str, Any]]:
    """Median best value by refill size and sampler."""
    tpe = partial(TPESampler, multivariate=True)
    contenders: dict[str, Callable[[int], Callable[[], BaseSampler]]] = {
        "ours": partial(ours, "tpe"),
        "optuna, lying": partial(optunas, partial(tpe, constant_liar=True)),
        "optuna, not lying": partial(optunas, partial(tpe, constant_liar=False)),
    }
    rows = []
    for refill in (1, 16, 64):
        row: dict[str, Any] = {"refill": refill, "trials": trials, "seeds": seeds}
        for name, make in contenders.items():
            fresh = range(FIRST_SEED, FIRST_SEED + seeds)
            found = [search(make(seed), "none", trials, refill)[0] for seed in fresh]
            row[name] = statistics.median(found)
        print(row, flush=True)
        rows.append(row)
    return rows


def edges(seeds: int, trials: int) -> list[dict[str, Any]]:
    """Share of later asks, after a quarter, that diverged; of the slow GP 60 trials, 3 seeds."""
    plain: dict[str, Callable[..., BaseSampler]] = {
        "tpe": partial(TPESampler, multivariate=True),
        "cmaes": CmaEsSampler,
        "gp": GPSampler,
    }
    rows = []
    for method, sampler in plain.items():
        most, repeats = (min(trials, 60), min(seeds, 3)) if method == "gp" else (trials, seeds)
        for edge in ("lr", "lr / (1 - momentum)"):
            for refill in (1, 8):
                row: dict[str, Any] = {"method": method, "edge": edge, "refill": refill}
                row |= {"trials": most, "seeds": repeats}
                for name, make in (
                    ("ours", partial(ours, method)),
                    ("optuna", partial(optunas, sampler)),
                ):
                    fresh = range(FIRST_SEED, FIRST_SEED + repeats)
                    runs = [search(make(seed), edge, most, refill) for seed in fresh]
                    late = [statistics.mean(gone[most // 4 :]) for _, gone in runs]
                    row[name] = {
                        "diverged": statistics.mean(late),
                        "most": max(late),
                        "best": statistics.median(best for best, _ in runs),
                    }
                print(row, flush=True)
                rows.append(row)
    return rows


def finished(space: Space, n: int) -> list[optuna.trial.FrozenTrial]:
    """Random trials of the demo's space: a tenth diverges, a half is pruned, the rest complete."""
    rng, flat = np.random.default_rng(0), space.flat()
    trials = []
    for _ in range(n):
        params = {name: from_unit(flat[name], rng.random()) for name in space.branching}
        own = [name for name in space.active(params) if name not in params]
        params |= {name: from_unit(flat[name], rng.random()) for name in own}
        lr = next(name for name in params if name.endswith(".lr"))
        place = to_unit(flat[lr], params[lr])  # type: ignore[arg-type]
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
        sampler=partial(make_sampler, "tpe", space, 0),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/sampling.json"))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    load = os.getloadavg()[0]
    result: dict[str, Any] = {
        "refill": [refill(size, arguments.lanes, arguments.rounds) for size in arguments.sizes],
        "quality": quality(arguments.seeds, arguments.trials),
        "edge": edges(arguments.seeds, arguments.trials),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_average": [load, os.getloadavg()[0]],
            "optuna": optuna.__version__,
        },
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    for row in result["refill"]:
        seconds = row["median seconds"]["ours"]
        print(f"{row['finished']} finished: {row['lanes']} asks take {seconds:.3f} s")


if __name__ == "__main__":
    main()
