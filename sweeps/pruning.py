"""`early_terminate:` of a sweep file -> the Optuna pruner that stops weak trials.

Steps are epochs, from 1. Nothing is pruned before `min_epochs`; `auto` is a tenth of the epochs,
at least 1, and never before the longest warmup of the space has ended, so that all trials meet the
same rungs and none is judged while its learning rate still climbs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.study import StudyDirection

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from sweeps.spec.models import EarlyTerminate


def first_epoch(rule: EarlyTerminate, epochs: int, warmup_fraction: float) -> int:
    """Return the first epoch at which a trial of `epochs` epochs may be pruned.

    `warmup_fraction` is the longest of the space.
    """
    if rule.min_epochs is not None:
        return rule.min_epochs
    return max(1, math.ceil(epochs / 10), math.ceil(epochs * warmup_fraction))


def make_pruner(rule: EarlyTerminate, epochs: int, min_epochs: int) -> BasePruner:
    """Return the pruner for trials of at most `epochs` epochs."""
    if rule.min_iter is not None or rule.max_iter is not None:
        return BandPruner(bands(rule, epochs), rule.eta, strict=rule.strict)
    makers: dict[str, Callable[[], BasePruner]] = {
        "asha": lambda: SuccessiveHalvingPruner(
            min_resource=min_epochs, reduction_factor=int(rule.eta)
        ),
        "hyperband": lambda: HyperbandPruner(
            min_resource=min_epochs,
            max_resource=max(epochs, min_epochs),
            reduction_factor=int(rule.eta),
        ),
        "median": lambda: MedianPruner(
            n_startup_trials=rule.startup_trials, n_warmup_steps=min_epochs
        ),
        "percentile": lambda: PercentilePruner(
            rule.percentile, n_startup_trials=rule.startup_trials, n_warmup_steps=min_epochs
        ),
        "patience": lambda: _patient(rule.patience),
        "none": NopPruner,
    }
    return makers[rule.type]()


def _patient(patience: int) -> PatientPruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PatientPruner(None, patience=patience)


def bands(rule: EarlyTerminate, epochs: int) -> tuple[int, ...]:
    """Return W&B's bands below `epochs`: min_iter * eta^k, or max_iter / eta^k for k = 1 .. s."""
    if rule.min_iter is not None:
        found = []
        band = float(rule.min_iter)
        while band < epochs:
            found.append(int(band))
            band *= rule.eta
        return tuple(found)
    most = (rule.max_iter or epochs, rule.s or 1)
    return tuple(
        sorted(int(most[0] / rule.eta**k) for k in range(1, most[1] + 1) if most[0] >= rule.eta**k)
    )


class BandPruner(BasePruner):
    """W&B's hyperband: at each band only the best 1/eta of the values logged there go on.

    A band b is reached with value number b + 1. The threshold is the value at place
    floor(n / eta) of the n values there, best first; whoever is worse stops, at the band or later.
    `strict` stops whoever is not among the best floor(n / eta), at least one.

    Source: the W&B sweep documentation, `early_terminate`; Li et al., arXiv:1603.06560.
    """

    def __init__(self, bands: tuple[int, ...], eta: float, *, strict: bool) -> None:
        self._bands = bands
        self._eta = eta
        self._strict = strict

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        reached = [band for band in self._bands if band < len(trial.intermediate_values)]
        if not reached:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        band = reached[-1]
        own = sign * _logged(trial)[band]
        values = sorted(
            sign * curve[band]
            for curve in map(_logged, study.get_trials(deepcopy=False))
            if len(curve) > band
        )
        place = int(len(values) / self._eta)
        threshold = values[max(place, 1) - 1] if self._strict else values[place]
        return own > threshold


def _logged(trial: FrozenTrial) -> list[float]:
    values = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    return [value for value in values if math.isfinite(value)]
