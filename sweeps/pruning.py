"""`early_terminate:` of a sweep file -> the Optuna pruner that stops weak trials.

Steps are epochs, from 1. Nothing is pruned before `min_epochs`; `auto` is a tenth of the epochs,
at least 1, and never before the longest warmup of the space has ended, so that all trials meet the
same rungs and none is judged while its learning rate still climbs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.pruners import BasePruner, NopPruner, PatientPruner

from studies.rungs import (
    AshaPruner,
    BatchPruner,
    BracketPruner,
    Cells,
    QuantilePruner,
    Verdict,
    worse,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from studies import StudyStorage
    from studies.fences import Fence
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
        "asha": lambda: AshaPruner(min_epochs, int(rule.eta)),
        "hyperband": lambda: BracketPruner(min_epochs, max(epochs, min_epochs), int(rule.eta)),
        "median": lambda: QuantilePruner(50.0, rule.startup_trials, min_epochs),
        "percentile": lambda: QuantilePruner(rule.percentile, rule.startup_trials, min_epochs),
        "patience": lambda: _patient(rule.patience),
        "none": NopPruner,
    }
    return makers[rule.type]()


def stopped(
    study: optuna.Study, storage: StudyStorage, numbers: Sequence[int], fence: Fence | None = None
) -> set[int]:
    """Return which of the trials the study's pruner stops, from one look at the study.

    What it notes of the trials is written in one transaction, under the caller's leases.
    """
    pruner = study.pruner
    if not numbers or isinstance(pruner, NopPruner):
        return set()
    trials = study.get_trials(deepcopy=False)
    judged = [trials[number] for number in numbers]
    if not isinstance(pruner, BatchPruner):
        return {trial.number for trial in judged if pruner.prune(study, trial)}
    verdicts = pruner.judge(study, trials, judged)
    pairs = list(zip(judged, verdicts, strict=True))
    noted = {trial._trial_id: said.attrs for trial, said in pairs if said.attrs}
    storage.set_system_attrs(noted, fence)
    return {trial.number for trial, said in pairs if said.prune}


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


class BandPruner(BatchPruner):
    """W&B's hyperband: at each band only the best 1/eta of the values logged there go on.

    A band b is reached with value number b + 1. The threshold is the value at place
    floor(n / eta) of the n values there, best first; whoever is worse stops, at the band or later.
    `strict` stops whoever is not among the best floor(n / eta), at least one.

    Source: the W&B sweep documentation, `early_terminate`; Li et al., arXiv:1603.06560.
    """

    def __init__(self, bands: tuple[int, ...], eta: float, *, strict: bool) -> None:
        super().__init__()
        self._bands = bands
        self._eta = eta
        self._strict = strict

    def _cells(self, study: optuna.Study, trial: FrozenTrial) -> Cells:
        values = trial.intermediate_values
        logged = [values[step] for step in sorted(values) if math.isfinite(values[step])]
        return {band: logged[band] for band in self._bands if band < len(logged)}

    def _judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        reached = self._cells(study, trial)
        band = max((band for band in self._bands if band in reached), default=None)
        if band is None:
            return Verdict(prune=False)
        column = self._columns.column(band)
        place = int(len(column) / self._eta)
        place = max(place, 1) - 1 if self._strict else place
        return Verdict(worse(reached[band], column, place, study.direction))
