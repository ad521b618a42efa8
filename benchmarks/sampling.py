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
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.trial import TrialState

from benchmarks.sampling_refill import optunas
from benchmarks.sampling_refill import refill as refilled
from sweeps.sampling import make_sampler
from sweeps.space import Space
from sweeps.unit_cube import to_unit

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


QUALITY_TIMES = 4  # as many seeds for the quality, whose median of ten says little
FIRST_SEED = 100  # the threshold of `sweeps.sampling.feasibility` was chosen on seeds from 0 on
FLAT = Flat((), ("sgd",), ("constant",))


def ours(method: str, seed: int) -> Callable[[], BaseSampler]:
    """A sampler a refill, as the asker makes it."""
    return partial(make_sampler, method, FLAT, seed)


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
    """Share of later asks, after a quarter, that diverged; of the slow GP 120 trials, 3 seeds."""
    plain: dict[str, Callable[..., BaseSampler]] = {
        "tpe": partial(TPESampler, multivariate=True),
        "cmaes": CmaEsSampler,
        "gp": GPSampler,
    }
    rows = []
    for method, sampler in plain.items():
        most, repeats = (min(trials, 120), min(seeds, 3)) if method == "gp" else (trials, seeds)
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
        "refill": [refilled(size, arguments.lanes, arguments.rounds) for size in arguments.sizes],
        "quality": quality(QUALITY_TIMES * arguments.seeds, arguments.trials),
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
