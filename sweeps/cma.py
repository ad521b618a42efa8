"""CMA-ES under ask and tell, with a state that is JSON.

A trial stores the generation that it was drawn from and, when its ask closed a generation, the
numbers of the trials that were told: `{"generation": g, "told": [n, ...]}`. Telling them again in
that order gives back the mean, step size and covariance; a pickled optimizer, which would be a
program in the database, is never stored.

Source: Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772; the `cmaes` package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from sweeps.unit_cube import Numeric, from_unit, to_unit

INITIAL_SIGMA = 1 / 6  # of the unit cube's side, as Optuna starts


@dataclass(frozen=True)
class Told:
    """An earlier trial: its loss is None while it has none, infinite when it diverged."""

    number: int
    params: Mapping[str, Any]
    loss: float | None
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Proposal:
    """Values for the numeric dimensions, and the JSON that the trial stores."""

    values: dict[str, Any]
    state: dict[str, Any]


def propose(space: Mapping[str, BaseDistribution], history: Sequence[Told], seed: int) -> Proposal:
    """Draw the next point of `space` after the trials of `history`, in order of their numbers.

    A space without a numeric dimension gives no values.
    """
    import numpy as np

    numeric = {name: d for name, d in sorted(space.items()) if isinstance(d, Numeric)}
    if not numeric:
        return Proposal({}, {})
    optimizer = _Replay(numeric, history, seed)
    closings: dict[int, list[int]] = {}
    for trial in history:
        if "told" in trial.state:
            closings.setdefault(trial.state["generation"] - 1, trial.state["told"])
    while optimizer.generation in closings:
        optimizer.tell(closings[optimizer.generation])
    state: dict[str, Any] = {}
    ready = [
        trial.number
        for trial in history
        if trial.loss is not None and trial.state.get("generation") == optimizer.generation
    ]
    if len(ready) >= optimizer.population_size:
        state["told"] = ready[: optimizer.population_size]
        optimizer.tell(state["told"])
    state["generation"] = optimizer.generation
    point = np.clip(optimizer.ask(), 0.0, 1.0 - 1e-12)
    pairs = zip(numeric.items(), point, strict=True)
    return Proposal({name: from_unit(d, float(u)) for (name, d), u in pairs}, state)


class _Replay:
    """A CMA-ES in the unit cube that is told trials by their numbers."""

    def __init__(self, numeric: Mapping[str, Numeric], history: Sequence[Told], seed: int) -> None:
        import cmaes
        import numpy as np

        self._numeric = numeric
        self._trials = {trial.number: trial for trial in history}
        self._optimizer = cmaes.CMA(
            mean=np.full(len(numeric), 0.5),
            sigma=INITIAL_SIGMA,
            bounds=np.tile([0.0, 1.0], (len(numeric), 1)),
            seed=seed,
        )
        self.ask = self._optimizer.ask
        self.population_size: int = self._optimizer.population_size

    @property
    def generation(self) -> int:
        return int(self._optimizer.generation)

    def tell(self, numbers: Sequence[int]) -> None:
        import numpy as np

        solutions = []
        for trial in (self._trials[number] for number in numbers):
            point = [to_unit(d, trial.params[name]) for name, d in self._numeric.items()]
            solutions.append((np.asarray(point), trial.loss))
        self._optimizer.tell(solutions)
