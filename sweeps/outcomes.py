"""How trials end: one outcome each, and what the study DB keeps of it.

    complete   trained to its last epoch                          COMPLETE, with its value
    pruned     stopped before: by the pruner or its own clock     PRUNED, `reason`, value so far
    diverged   a loss or the objective was not finite             PRUNED, `reason`,
               `diverged_step`, `last_value` at `last_epoch` (the last finite objective), the
               constraint `diverged` = 1, from which samplers learn where not to ask
               (`sweeps.sampling`)
    failed     the trial's own code raised something              FAIL, `reason`, `traceback`
    cancelled  by `sweeps cancel STUDY TRIAL` (`studies.control`)   FAIL, `reason`; it counts in no
               budget and is not trained again

Each has `epochs`, `seconds` and `device_seconds` (see `Outcome`), on CUDA `peak_memory` in bytes,
of a script the `folder` with its output.
A drained trial has no outcome: it waits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from studies import CANCELLED, Finish
from sweeps.engines.base import Ending, Outcome


@dataclass
class Held:
    """A trial that the engine trains."""

    trial_id: int
    seeds: tuple[int, ...]
    prunable: bool
    curve: dict[int, float] = field(default_factory=dict)  # epoch -> objective
    stop: str | None = None  # why it is to stop


def to_finish(outcome: Outcome, held: Held, *, take: str, maximize: bool) -> Finish:
    """Return what is written when a trial ends; `take` is the sweep file's `metric.take`."""
    attrs: dict[str, Any] = {
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "device_seconds": outcome.device_seconds,
        "seed": held.seeds[0],
    }
    if outcome.folder is not None:
        attrs["folder"] = outcome.folder
    if outcome.peak_memory is not None:
        attrs["peak_memory"] = outcome.peak_memory
    constraint = 0.0
    value = trial_value(held.curve, take=take, maximize=maximize)
    if outcome.ending is Ending.TRAINED:
        state, name = TrialState.COMPLETE, "complete"
    elif outcome.ending is Ending.STOPPED:
        state, name = TrialState.PRUNED, "pruned"
        attrs["reason"] = held.stop
    elif outcome.ending is Ending.DIVERGED:
        state, name = TrialState.PRUNED, "diverged"
        attrs["reason"] = f"non-finite at step {outcome.step}"
        attrs["diverged_step"] = outcome.step
        attrs |= _last_finite(held.curve)
        constraint, value = 1.0, None
    else:
        state, name, value = TrialState.FAIL, "failed", None
        attrs |= {"reason": outcome.error, "traceback": outcome.traceback}
    attrs["outcome"] = name
    return Finish(
        held.trial_id,
        state,
        None if value is None else [value],
        user_attrs=attrs,
        system_attrs={"constraints:diverged": constraint},
    )


def has_failed(trial: FrozenTrial) -> bool:
    """Return whether the trial has failed; one that `sweeps cancel` ended has not."""
    cancelled = trial.user_attrs.get("outcome") == CANCELLED
    return trial.state == TrialState.FAIL and not cancelled


def _last_finite(curve: Mapping[int, float]) -> dict[str, float]:
    finite = [epoch for epoch, value in curve.items() if math.isfinite(value)]
    if not finite:
        return {}
    return {"last_value": curve[max(finite)], "last_epoch": max(finite)}


def trial_value(curve: Mapping[int, float], *, take: str, maximize: bool) -> float | None:
    """Return a trial's value: the best or the last finite one of its curve; None without any."""
    finite = {epoch: value for epoch, value in curve.items() if math.isfinite(value)}
    if not finite:
        return None
    if take == "last":
        return finite[max(finite)]
    return max(finite.values()) if maximize else min(finite.values())
