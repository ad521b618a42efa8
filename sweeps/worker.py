"""One process that works on a sweep: its place in `workers`, feed, engine, heartbeat, signals.

Any number of them may work on one study, each trial under a lease (`studies.leases`). The first
SIGINT or SIGTERM drains: the current epoch ends, the trial is handed back, the study keeps its
place. A second one ends the process at once; another worker, or the next `run`, takes over what it
left.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Self

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from optimizers import SCHEDULES
from studies import LEASE_SECONDS, Holding, Points, bury_dead, register, sign_off
from sweeps.asking import Asker
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
from sweeps.samplers import GRID_INDEX, free_of, free_points, make_sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna

    from studies.schema import Status
    from sweeps.config import Config
    from sweeps.space import Space

BEATS_PER_LEASE = 3


class Worker:
    """Works on one sweep in this process: `with Worker(sweep) as worker: worker.run()`.

    `changed` is called after each report and finish, and now and then for those of others;
    `progress` is there to be looked at from another thread while `run` works. `leads`: this is
    `sweeps run`, of which there is one at a time, and which plans the known configurations.
    """

    def __init__(
        self,
        sweep: OpenSweep,
        changed: Callable[[], None] = lambda: None,
        *,
        leads: bool = True,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._sweep, self._changed, self._leads = sweep, changed, leads
        self._lease_seconds = lease_seconds
        spec = sweep.spec
        self._device = resolve_device(spec.device)
        self._ending: Status = "drained"
        self.progress = make_progress(sweep)

    def __enter__(self) -> Self:
        """Join the sweep: from now on this process says that it lives.

        Raises:
            UserError: another live process leads, and this one was to.
        """
        sweep, lease = self._sweep, self._lease_seconds
        with ExitStack() as stack:
            me = register(
                sweep.storage,
                sweep.study_id,
                device=self._device,
                lease_seconds=lease,
                leads=self._leads,
            )
            stack.callback(lambda: sign_off(sweep.storage, me, self._ending))
            self._holding = Holding(sweep.storage, me)
            self._clock = _Wall(me.elapsed_seconds, lease)
            self._feed = self._make_feed()
            stack.enter_context(repeating(self._beat, lease / BEATS_PER_LEASE, "heartbeat"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> str:
        """Train until the budget is met or a signal drains; return why it ended.

        Raises:
            SweeplaneError: trials failed one after the other with one cause.
        """
        spec = self._sweep.spec
        if self._leads:
            plan(self._sweep)
        objective = Objective(spec.metric.name, maximize=spec.metric.goal == "maximize")
        engine = SerialEngine(self._device, spec.precision, objective)
        try:
            with self._signals():
                engine.run(self._sweep.tasks, self._feed)
        except Exception:
            self._ending = "failed"
            raise
        self._ending = "drained" if self.drained else "finished"
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
        asker = Asker(
            sweep.study,
            self._holding,
            suggest=partial(_suggest, sweep),
            sampler=lambda number: make_sampler(spec.method, spec.space, spec.seed, number),
            points=_points(sweep),
            places=spec.budget.trials,
        )
        return StudyFeed(
            sweep.study,
            self._holding,
            rules,
            asker=asker,
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
        """Say that this worker lives; learn what was lost meanwhile, and what others did."""
        storage, study_id = self._sweep.storage, self._sweep.study_id
        try:
            renewed = self._holding.renew()
            bury_dead(storage, study_id)
        except SQLAlchemyError:
            return True  # the database is out of reach; a trial lost meanwhile is refused later
        except KeyError:
            self._feed.drain()
            return False
        self._feed.lose(renewed.lost)
        self._clock.set(renewed.elapsed_seconds)
        if self._leads and not renewed.leads:
            self._feed.drain()  # it was paused, and another `sweeps run` leads now
        self._changed()
        return True


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """End the process without cleaning up: an exception may be lost, in a destructor for one."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the live table has hidden the cursor
    os._exit(128 + number)


class _Wall:
    """The sweep's wall clock: that of the study DB, and the time since its last word."""

    def __init__(self, seconds: float, longest: float) -> None:
        self._longest = longest
        self.set(seconds)

    def set(self, seconds: float) -> None:
        self._known = (seconds, time.monotonic())

    def seconds(self) -> float:
        seconds, then = self._known
        return seconds + min(time.monotonic() - then, self._longest)


def make_progress(sweep: OpenSweep) -> Progress:
    """Return the counts at the start."""
    spec = sweep.spec
    trials = sweep.study.get_trials(deepcopy=False)
    progress = Progress(
        total=min(spec.budget.trials, _most_trials(sweep)),
        done_before=sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials),
        maximize=spec.metric.goal == "maximize",
    )
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            progress.saw(trial.number, trial.values[0])
    return progress


def _suggest(sweep: OpenSweep, trial: optuna.Trial) -> Config:
    sampled = sweep.spec.space.suggest(trial)
    return sweep.spec.space.config(sampled, epochs=sweep.epochs, batch_size=sweep.batch_size)


def _points(sweep: OpenSweep) -> Points | None:
    if sweep.spec.method != "grid":
        return None
    return Points(GRID_INDEX, partial(free_of, sweep.spec.space.size() or 0))


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
