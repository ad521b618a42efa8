"""What a sweep would take, before there is a study: lanes, seconds, device-hours, cost.

A few steps of one trial are timed, alone and in lanes (`LanesEngine.try_out`); the rest is
arithmetic over the budget. `ASSUMED` says what it leaves out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizers import RULES
from studies.errors import SweeplaneError, UserError
from sweeps.crowd import learns, share_at_once
from sweeps.device import name_of, resolve_device
from sweeps.engines.base import Objective, Trial
from sweeps.engines.lanes.engine import LanesEngine
from sweeps.engines.lanes.ladder import Ladder
from sweeps.engines.lanes.trying import Trying
from sweeps.launch import OpenTask, open_task
from sweeps.pruning import bands, first_epoch
from sweeps.spec.known import known_config
from sweeps.worker import longest_warmup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sweeps.config import Config
    from sweeps.spec import Spec
    from sweeps.spec.models import EarlyTerminate

ASSUMED = (
    "every trial costs what the one tried does: {title}, batch size {batch_size}",
    "lanes with several optimizers cost no more than those with its one",
    "each worker has a core, or a device, of its own, as busy with other work as now",
    "lanes shorten evaluations as they shorten steps, and are all taken, to the end",
    "starting up, compiling, asking, reporting and checkpoints take no time",
    "no trial fails, and compiled steps are no faster than those tried",
)


@dataclass(frozen=True)
class Extent:
    """What a budget takes: epochs of models, and seconds of all devices together."""

    epochs: float
    device_seconds: float
    seconds: float  # of the whole, with every worker at work

    @property
    def device_hours(self) -> float:
        """The hours that devices work, summed over them."""
        return self.device_seconds / 3600


@dataclass(frozen=True)
class Forecast:
    """What was tried, and what follows for the whole budget.

    `ladder` has the lanes that each worker uses, no more than the budget and the method let train
    at once. `most` is without pruning, `least` the pruner's best case; None where the pruner has
    none that is known beforehand.
    """

    tried: Trying
    config: Config
    device: str
    trials: int
    repeats: int
    workers: int
    ladder: Ladder
    most: Extent
    least: Extent | None
    splitting: tuple[str, ...]  # knobs whose values do not share lanes
    switches: tuple[str, ...]  # knobs whose values share lanes, with updates of their own
    apart: tuple[str, ...]  # optimizers that have no lanes
    notes: tuple[str, ...]  # what the engine said

    @property
    def lanes(self) -> int:
        """How many models train at once in each worker, 1 where none fuse."""
        return self.ladder.most

    @property
    def paces(self) -> dict[int, float]:
        """Steps of models a second, by how many train at once: those tried and those used."""
        seconds = {**self.tried.ladder.seconds, **self.ladder.seconds}
        in_lanes = {lanes: lanes / seconds[lanes] for lanes in sorted(seconds)}
        return {1: 1 / self.ladder.alone, **in_lanes}

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the projection takes for granted."""
        config = self.config
        words = {"title": config.title, "batch_size": config.batch_size}
        return tuple(text.format(**words) for text in ASSUMED)


def forecast(spec: Spec, workers: int) -> Forecast:
    """Try a trial of a sweep file, and project its budget over so many workers.

    Raises:
        UserError: the task cannot be built, or its trial cannot be trained.
    """
    _refuse_script(spec)
    own, device = open_task(spec), resolve_device(spec.device)
    config, notes = _config(spec, own), list[str]()
    tried = _as_asked(spec, _try(spec, own, device, config, notes.append))
    trials = trials_of(spec)
    at_once = share_at_once(trials / workers, learns=learns(spec))
    ladder = tried.ladder.up_to(max(int(at_once), 1))
    first = first_epoch(spec.early_terminate, own.epochs, longest_warmup(spec.space))
    least = least_epochs(spec.early_terminate, own.epochs, first)

    def extent(epochs: float) -> Extent:
        epochs *= trials * spec.repeats
        seconds = epochs * epoch_seconds(tried, ladder)
        return Extent(epochs, seconds, seconds / workers)

    searched = [knob for knob in spec.space.knobs if knob.searched]
    split = [k for k in searched if k.owner.kind == "task" or k.name == "batch_size"]
    return Forecast(
        tried=tried,
        config=config,
        device=f"{device} ({name_of(device)})",
        trials=trials,
        repeats=spec.repeats,
        workers=workers,
        ladder=ladder,
        most=extent(own.epochs),
        least=None if least is None else extent(least),
        splitting=tuple(knob.label for knob in split),
        switches=tuple(knob.label for knob in searched if knob.static),
        apart=tuple(name for name in spec.space.optimizers if name not in RULES),
        notes=tuple(note for note in notes if not tried.reason or tried.reason not in note),
    )


def _refuse_script(spec: Spec) -> None:
    if spec.program is not None:
        raise UserError(
            f"{spec.path}: nothing but the script knows how long a trial of it takes. Run one: "
            "set run_cap: 1, and see `sweeps show STUDY 0`"
        )


def _try(
    spec: Spec, own: OpenTask, device: str, config: Config, say: Callable[[str], None]
) -> Trying:
    objective = Objective(spec.metric.name, maximize=spec.metric.goal == "maximize")
    engine = LanesEngine(device, spec.precision, objective, None, say, compiling=spec.compile)
    try:
        return engine.try_out(own.tasks, Trial(0, config, (spec.seed,)))
    except SweeplaneError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise UserError(
            f"task '{spec.task}': a step of a trial raised {type(error).__name__}: {error}"
        ) from error


def least_epochs(rule: EarlyTerminate, epochs: int, first: int) -> float | None:
    """Return the mean epochs of a trial when exactly 1 of eta goes on at each rung.

    That is successive halving's plan, which the asynchronous one comes near to from above. None for
    a pruner whose rungs say nothing of how many trials go on.
    """
    if rule.type == "none":
        return float(epochs)
    if rule.type not in ("asha", "hyperband"):
        return None
    rungs: Sequence[float] = _rungs(rule, epochs, first)
    ends, mean, share, before = [*rungs, epochs], 0.0, 1.0, 0.0
    for end in ends:
        mean += share * (end - before)
        share, before = share / rule.eta, end
    return mean


def _rungs(rule: EarlyTerminate, epochs: int, first: int) -> list[int]:
    """Return the epochs, before the last, at which trials are compared."""
    if rule.min_iter is not None or rule.max_iter is not None:
        return [band for band in bands(rule, epochs) if band < epochs]
    found, rung = [], first
    while rung < epochs:
        found.append(rung)
        rung *= int(rule.eta)
    return found


def epoch_seconds(tried: Trying, ladder: Ladder) -> float:
    """Return the seconds that an epoch of one model takes of the device, in lanes where it may."""
    alone = tried.steps * tried.ladder.alone + tried.evaluation_seconds
    return alone * step_seconds(ladder) / ladder.alone


def step_seconds(ladder: Ladder) -> float:
    """Return the seconds that a step of one model takes of the device with most lanes."""
    lanes = ladder.most
    return ladder.seconds[lanes] / lanes if ladder.seconds else ladder.alone


def _as_asked(spec: Spec, tried: Trying) -> Trying:
    """Return what was tried with no more lanes than the sweep file asks for."""
    if not isinstance(spec.lanes, int) or tried.reason:
        return tried
    reason = "the sweep file says `lanes: 1`" if spec.lanes == 1 else ""
    return replace(tried, ladder=tried.ladder.up_to(spec.lanes), reason=reason)


def _config(spec: Spec, own: OpenTask) -> Config:
    """Return the trial to try: the defaults of the first optimizer that has lanes, if any."""
    names = spec.space.optimizers
    entry = {"optimizer": next((name for name in names if name in RULES), names[0])}
    entry["schedule"], entry["average"] = spec.space.schedules[0], spec.space.averages[0]
    sizes = {"epochs": own.epochs, "batch_size": own.batch_size}
    config = known_config(entry, spec.space, spec.decay, **sizes)
    return replace(config, epochs=own.epochs)


def trials_of(spec: Spec) -> int:
    """Return how many trials there can be: a grid ends, and known ones stand beside it."""
    size = spec.space.size() if spec.method == "grid" else None
    known = len(spec.enqueue) + (spec.baseline is not None)
    return int(min(spec.budget.trials, math.inf if size is None else size + known))
