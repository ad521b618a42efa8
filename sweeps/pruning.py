"""`early_terminate:` of a sweep file -> the Optuna pruner that stops weak trials.

Steps are epochs, from 1; of a script they are its reports. Nothing is pruned before `min_epochs`;
`auto` is a tenth of the epochs, at least 1, and never before the longest warmup of the space has
ended, so that all trials meet the same rungs and none is judged while its learning rate still
climbs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.pruners import BasePruner, NopPruner, PatientPruner
from optuna.study import StudyDirection

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


_MOST_BANDS = 100  # W&B's
_FARTHEST = 2.0**53  # values that a trial may log


def first_epoch(rule: EarlyTerminate, epochs: float, warmup_fraction: float) -> int:
    """Return the first epoch at which a trial of `epochs` epochs may be pruned.

    `warmup_fraction` is the longest of the space. Nobody knows how many reports a script makes:
    where `epochs` is infinite, it is the first one.
    """
    if rule.min_epochs is not None:
        return rule.min_epochs
    if math.isinf(epochs):
        return 1
    return max(1, math.ceil(epochs / 10), math.ceil(epochs * warmup_fraction))


def make_pruner(rule: EarlyTerminate, epochs: float, min_epochs: int) -> BasePruner:
    """Return the pruner for trials of at most `epochs` epochs."""
    if rule.min_iter is not None or rule.max_iter is not None:
        return BandPruner(bands(rule, epochs), rule.eta, strict=rule.strict)
    makers: dict[str, Callable[[], BasePruner]] = {
        "asha": lambda: AshaPruner(min_epochs, int(rule.eta)),
        "hyperband": lambda: BracketPruner(min_epochs, max(int(epochs), min_epochs), int(rule.eta)),
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


def bands(rule: EarlyTerminate, epochs: float) -> tuple[int, ...]:
    """Return W&B's bands below `epochs`: min_iter * eta^k, or max_iter / eta^k for k = 1 .. s."""
    found: list[int] = []
    if rule.min_iter is not None:
        band = float(rule.min_iter)
        while band < min(epochs, _FARTHEST) and len(found) < _MOST_BANDS:
            found.append(int(band))
            band *= rule.eta
        return tuple(found)
    band = float(rule.max_iter or epochs)
    for _ in range(rule.s or 1):
        band /= rule.eta
        if band >= 1:
            found.append(int(band))
    return tuple(reversed(found))


class BandPruner(BatchPruner):
    """W&B's hyperband: at each band only the best 1/eta of the values logged there go on.

    A band b is reached with the b-th finite value. Its threshold is the value at place
    floor(n / eta), counted from 0, of the n values that all trials have there, best first. A trial
    is judged at the last band that it has reached, with each value that it logs: it stops when its
    best value so far is worse than the threshold, or, if `strict`, when its value at the band is.

    Source: `sweeps.hyperband_stopping` of W&B's package sweeps 0.3.0; Li et al., arXiv:1603.06560.
    """

    def __init__(self, bands: tuple[int, ...], eta: float, *, strict: bool) -> None:
        super().__init__()
        self._bands = bands
        self._share = 1 / eta
        self._strict = strict

    def _cells(self, study: optuna.Study, trial: FrozenTrial) -> Cells:
        logged = _logged(trial)
        return {band: logged[band - 1] for band in self._bands if band <= len(logged)}

    def _judge(self, study: optuna.Study, trial: FrozenTrial) -> Verdict:
        logged = _logged(trial)
        band = max((band for band in self._bands if band <= len(logged)), default=None)
        if band is None:
            return Verdict(prune=False)
        best = max if study.direction == StudyDirection.MAXIMIZE else min
        value = logged[band - 1] if self._strict else best(logged)
        column = self._columns.column(band)
        return Verdict(worse(value, column, int(self._share * len(column)), study.direction))


def _logged(trial: FrozenTrial) -> list[float]:
    values = trial.intermediate_values
    return [values[step] for step in sorted(values) if math.isfinite(values[step])]
