"""One process that runs a sweep: lock, feed, engine, heartbeat, signals.

The first SIGINT or SIGTERM drains: the current epoch ends, the trial is handed back, the study
keeps its place. A second one ends the process at once; the next `run` hands back what it left.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Self

from optuna.trial import FrozenTrial, TrialState

from optimizers import SCHEDULES
from studies import (
    StudyStorage,
    SweeplaneError,
    acquire_runner,
    beat,
    release_runner,
    set_status,
)
from sweeps.background import repeating
from sweeps.budget import Budget
from sweeps.device import resolve_device
from sweeps.engines.base import Objective
from sweeps.engines.serial import SerialEngine
from sweeps.feed import FeedRules, StudyFeed
from sweeps.launch import OpenSweep
from sweeps.plan import plan, planned
from sweeps.progress import Progress
from sweeps.pruning import first_epoch, make_pruner
from sweeps.samplers import GRID_INDEX, free_points, make_sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna

    from sweeps.config import Config
    from sweeps.space import Space

HEARTBEAT_SECONDS = 5.0
ELAPSED = "sweeplane:elapsed_seconds"


class Worker:
    """Runs one sweep in this process: `with Worker(sweep) as worker: worker.run()`.

    `changed` is called after each report and finish; `progress` is there to be looked at from
    another thread while `run` works.
    """

    def __init__(self, sweep: OpenSweep, changed: Callable[[], None] = lambda: None) -> None:
        self._sweep, self._changed = sweep, changed
        spec = sweep.spec
        self._engine = SerialEngine(
            resolve_device(spec.device),
            spec.precision,
            Objective(spec.metric.name, maximize=spec.metric.goal == "maximize"),
        )
        self._clock = _Wall(sweep.storage, sweep.study_id)
        trials = sweep.study.get_trials(deepcopy=False)
        self.progress = Progress(
            total=min(spec.budget.trials, _most_trials(sweep)),
            done_before=sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials),
            maximize=spec.metric.goal == "maximize",
        )
        for trial in trials:
            if trial.state == TrialState.COMPLETE:
                self.progress.saw(trial.number, trial.values[0])
        self._feed = self._make_feed()

    def __enter__(self) -> Self:
        """Take the sweep, so that no other process runs it.

        Raises:
            UserError: another live process does.
        """
        acquire_runner(self._sweep.storage, self._sweep.study_id)
        return self

    def __exit__(self, *_: object) -> None:
        release_runner(self._sweep.storage, self._sweep.study_id)

    def run(self) -> str:
        """Train until the budget is met or a signal drains; return why it ended.

        Raises:
            SweeplaneError: trials failed one after the other with one cause.
        """
        storage, study_id = self._sweep.storage, self._sweep.study_id
        storage.hand_back(study_id, None)
        plan(self._sweep)
        set_status(storage, study_id, "running")
        try:
            with self._signals(), repeating(self._beat, HEARTBEAT_SECONDS, "heartbeat"):
                self._engine.run(self._sweep.tasks, self._feed)
        except SweeplaneError:
            set_status(storage, study_id, "failed")
            raise
        finally:
            self._clock.save()
            storage.hand_back(study_id, None)
        set_status(storage, study_id, "drained" if self.drained else "finished")
        return self._feed.ended or "drained by a signal"

    @property
    def drained(self) -> bool:
        """Whether a signal ended the run before the budget was met."""
        return self._feed.ended is None

    def _make_feed(self) -> StudyFeed:
        sweep, spec = self._sweep, self._sweep.spec
        maximize = spec.metric.goal == "maximize"
        stopper = spec.early_terminate
        min_epochs = first_epoch(stopper, sweep.epochs, _longest_warmup(spec.space))
        sweep.study.pruner = make_pruner(stopper, sweep.epochs, min_epochs)
        budget = Budget(
            trials=spec.budget.trials,
            time=spec.budget.time or math.inf,
            device_seconds=(spec.budget.gpu_hours or math.inf) * 3600,
            target=spec.metric.target,
            maximize=maximize,
        )
        rules = FeedRules(
            metric=spec.metric.name,
            maximize=maximize,
            take=spec.metric.take,
            repeats=spec.repeats,
            seed=spec.seed,
            min_epochs=min_epochs,
            trial_seconds=spec.budget.trial_time or math.inf,
            failures=spec.budget.failures,
            budget=budget,
        )
        return StudyFeed(
            sweep.study,
            sweep.storage,
            rules,
            suggest=partial(_suggest, sweep),
            sampler=lambda number: make_sampler(spec.method, spec.space, spec.seed, number),
            exhausted=lambda trials: _exhausted(sweep, trials),
            elapsed=self._clock.seconds,
            progress=self.progress,
            changed=self._changed,
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Drain on the first signal, end on the second, whatever handlers the process inherited."""

        def drain(_number: int, _frame: FrameType | None) -> None:
            self._feed.drain()
            self.progress.note = "draining: the epoch ends, then the trial is handed back"
            for name in before:
                signal.signal(name, _end_at_once)

        before = {name: signal.signal(name, drain) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def _beat(self) -> bool:
        """Say that this worker lives, and keep the wall clock; drain when the lock is lost."""
        if not beat(self._sweep.storage, self._sweep.study_id):
            self._feed.drain()
            return False
        self._clock.save()
        return True


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """End the process without cleaning up: an exception may be lost, in a destructor for one."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the live table has hidden the cursor
    os._exit(128 + number)


class _Wall:
    """The sweep's own wall clock, over relaunches; a kill loses at most one heartbeat of it."""

    def __init__(self, storage: StudyStorage, study_id: int) -> None:
        self._storage, self._study_id = storage, study_id
        self._before = float(storage.get_study_user_attrs(study_id).get(ELAPSED, 0.0))
        self._start = time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def save(self) -> None:
        self._storage.set_study_user_attr(self._study_id, ELAPSED, self.seconds())


def _suggest(sweep: OpenSweep, trial: optuna.Trial) -> Config:
    sampled = sweep.spec.space.suggest(trial)
    return sweep.spec.space.config(sampled, epochs=sweep.epochs, batch_size=sweep.batch_size)


def _exhausted(sweep: OpenSweep, trials: Sequence[FrozenTrial]) -> str | None:
    if sweep.spec.method != "grid":
        return None
    points = sweep.spec.space.size() or 0
    if free_points(points, trials):
        return None
    held = {t.system_attrs.get(GRID_INDEX) for t in trials if t.state != TrialState.FAIL}
    failed = points - len(held - {None})
    return f"the grid's {points} points have run" + (f", {failed} failed" if failed else "")


def _most_trials(sweep: OpenSweep) -> float:
    """Return how many trials there can be: a grid ends, and planned trials stand beside it."""
    if sweep.spec.method != "grid":
        return math.inf
    return len(planned(sweep)) + (sweep.spec.space.size() or 0)


def _longest_warmup(space: Space) -> float:
    """Return the largest part of a trial that its warmup (one_cycle: its rise) may take."""
    rises = {name: SCHEDULES[name].rise for name in space.schedules}
    warmups = [knob for knob in space.knobs if rises.get(knob.owner.which) == knob.name]
    return max(((knob.distribution.bounds() or (0, 0))[1] for knob in warmups), default=0.0)
