"""CMA-ES under ask and tell, with a state that is JSON.

A trial stores the generation that it was drawn from. The first trials of a generation that ended
close it; telling them again, generation after generation, gives back the mean, step size and
covariance. So it does not matter who asked first after a generation was complete, and a pickled
optimizer, which would be a program in the database, is never stored.

Source: Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772; the `cmaes` package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.unit_cube import Numeric, from_unit, to_unit

if TYPE_CHECKING:
    import cmaes

    from sweeps.sampling.feasibility import Feasibility
    from sweeps.sampling.parzen import Array

INITIAL_SIGMA = 1 / 6  # of the unit cube's side, as Optuna starts
BELOW_ONE = 1.0 - 1e-12
DRAWS = 100  # of which one should be likely to train; `cmaes` draws as often for the bounds


@dataclass(frozen=True)
class Told:
    """A trial that ended: its loss is infinite when it diverged."""

    params: Mapping[str, Any]
    loss: float
    generation: int | None  # None: another sampler or the user drew it


@dataclass(frozen=True)
class Proposal:
    """Values for the numeric dimensions, and the generation that they were drawn from."""

    values: dict[str, Any]
    generation: int


def propose(
    numeric: Mapping[str, Numeric],
    history: Sequence[Told],
    seed: int,
    feasibility: Feasibility | None,
) -> Proposal:
    """Draw the next point of `numeric` after the trials of `history`, in the order they ended."""
    optimizer = _replayed(numeric, history, seed)
    point = _draw(optimizer, feasibility)
    pairs = zip(numeric.items(), point, strict=True)
    values = {name: from_unit(d, float(u)) for (name, d), u in pairs}
    return Proposal(values, int(optimizer.generation))


def _replayed(numeric: Mapping[str, Numeric], history: Sequence[Told], seed: int) -> cmaes.CMA:
    """Return a CMA-ES in the unit cube that was told every generation that is complete."""
    import cmaes

    optimizer = cmaes.CMA(
        mean=np.full(len(numeric), 0.5),
        sigma=INITIAL_SIGMA,
        bounds=np.tile([0.0, 1.0], (len(numeric), 1)),
        seed=seed,
    )
    generations: dict[int | None, list[Told]] = {}
    for trial in history:
        generations.setdefault(trial.generation, []).append(trial)
    size = optimizer.population_size
    while len(ended := generations.get(optimizer.generation, [])) >= size:
        optimizer.tell(
            [
                (np.array([to_unit(d, t.params[name]) for name, d in numeric.items()]), t.loss)
                for t in ended[:size]
            ]
        )
    return optimizer


def _draw(optimizer: cmaes.CMA, feasibility: Feasibility | None) -> Array:
    """Return the first draw that is likely to train, else the likeliest."""
    if feasibility is None:
        return np.asarray(optimizer.ask().clip(0.0, BELOW_ONE))
    points: list[Array] = []
    for _ in range(DRAWS):
        points.append(optimizer.ask().clip(0.0, BELOW_ONE))
        if feasibility.allowed(points[-1][None])[0]:
            return np.asarray(points[-1])
    return np.asarray(points[int(feasibility.log_probability(np.array(points)).argmax())])
