"""`method:` of a sweep file -> the Optuna sampler that proposes trials.

A sampler is made anew for each refill (`refills`). What it draws for a trial follows from the
study, the sweep's seed and the trial's number. So with one worker and refills of the same size the
same file gives the same trials, also when the sweep was killed and started again in between.
Nothing but JSON is ever stored.

    tpe      TPE, multivariate within each group of the conditional space     tpe.py
    random   at random                                                        plain.py
    qmc      scrambled Sobol points; the trial's number is the point's index
    grid     the points of the grid in their order; each trial stores its index
    gp       Optuna's Gaussian process with log expected improvement          branches.py
    cmaes    CMA-ES                                                           branches.py, cma.py

tpe, gp and cmaes keep off what diverged, each by the probability that a point trains
(feasibility.py; the Gaussian process has one of its own). gp and cmaes ignore pruned trials, so a
diverged one is shown to them with the worst value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from sweeps.sampling.base import SpaceSampler
from sweeps.sampling.branches import CMA_STATE, CmaEsSampler, GpSampler
from sweeps.sampling.plain import GridSampler, QmcSampler, RandomSampler
from sweeps.sampling.seen import Seen
from sweeps.sampling.tpe import TpeSampler

if TYPE_CHECKING:
    from sweeps.space import Space

__all__ = ["CMA_STATE", "make_sampler", "refills"]

SAMPLERS: Mapping[str, type[SpaceSampler]] = {
    "tpe": TpeSampler,
    "random": RandomSampler,
    "qmc": QmcSampler,
    "grid": GridSampler,
    "gp": GpSampler,
    "cmaes": CmaEsSampler,
}


def make_sampler(method: str, space: Space, seed: int) -> SpaceSampler:
    """Return the sampler for the next refill of a sweep with `seed`."""
    return SAMPLERS[method](space, seed)


def refills(method: str, space: Space, seed: int) -> Callable[[], SpaceSampler]:
    """Return what makes the sampler of each refill; TPE's read only what changed since the last."""
    if method == "tpe":
        return partial(TpeSampler, space, seed, Seen())
    return partial(make_sampler, method, space, seed)
