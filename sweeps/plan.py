"""The known configurations of a sweep file, baseline and enqueued, as waiting trials."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from studies.retrying import again
from sweeps.config import AnyConfig, read_config
from sweeps.outcomes import has_failed

if TYPE_CHECKING:
    from sweeps.launch import OpenSweep


def planned(sweep: OpenSweep) -> list[tuple[str, AnyConfig]]:
    """Return the known configurations with their origin: the baseline, then the enqueued ones."""
    sizes = {"epochs": sweep.epochs, "batch_size": sweep.batch_size}
    baseline = sweep.spec.baseline_config(**sizes)
    first = [] if baseline is None else [("baseline", baseline)]
    return first + [("enqueued", config) for config in sweep.spec.enqueue_configs(**sizes)]


def plan(sweep: OpenSweep) -> None:
    """Put the known configurations that the study does not have yet into it, as waiting trials.

    One whose trial failed is put in again, one that was cancelled is not. One that lies in the
    search space carries its sampled values, so that samplers learn from it; one that does not (a
    default of zero on a log scale, a schedule that is not searched) keeps its effective values
    only. The caller holds the sweep.

    It is done again as a whole while the study DB is lost, since one added trial cannot be.
    """
    again(sweep.storage.engine, lambda: _plan(sweep))


def _plan(sweep: OpenSweep) -> None:
    study = sweep.study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([sweep.spec.metric.name])
    there = Counter(
        _key(trial.user_attrs["origin"], read_config(trial.user_attrs["config"]))
        for trial in study.get_trials(deepcopy=False)
        if not has_failed(trial) and "config" in trial.user_attrs
    )
    for origin, config in planned(sweep):
        key = _key(origin, config)
        if there[key] > 0:
            there[key] -= 1
        else:
            put_in(sweep, origin, config)


def put_in(sweep: OpenSweep, origin: str, config: AnyConfig) -> int:
    """Add a waiting trial of a known configuration; return its number."""
    flat = sweep.spec.space.flat()
    params = sweep.spec.space.encode(config) or {}
    trial = create_trial(
        state=TrialState.WAITING,
        params=params,
        distributions={name: flat[name] for name in params},
        user_attrs={"origin": origin, "config": config.to_json()},
    )
    trial_id = sweep.storage.create_new_trial(sweep.study_id, trial)
    number: int = sweep.storage.get_trial(trial_id).number
    return number


def _key(origin: str, config: AnyConfig) -> str:
    return json.dumps([origin, config.to_json()], sort_keys=True)
