"""One process that works on a sweep: its place in `workers`, feed, engine, heartbeat, signals.

Any number of them may work on one study, each trial under a lease (`studies.leases`). The first
SIGINT or SIGTERM drains: the current epoch ends, the trial is handed back with a checkpoint, the
study keeps its place. An epoch that takes longer than the grace period (`sweeps.leaving`) is cut,
and the trial handed back as it was before. A second signal ends the process at once; another
worker, or the next `run`, takes over what it left.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from optimizers import SCHEDULES
from studies import LEASE_SECONDS, Order, Points
from studies.timing import GRACE_SECONDS
from sweeps.asking import Asker
from sweeps.control import Interrupted, Interruptible, ended_by, interrupt, note
from sweeps.counts import exhausted, make_budget, make_progress
from sweeps.crowd import learns
from sweeps.device import resolve_device
from sweeps.engines.base import Cut, Engine, Objective
from sweeps.engines.function import FunctionEngine
from sweeps.engines.lanes.engine import LanesEngine
from sweeps.engines.script.engine import ScriptEngine, Scripts
from sweeps.engines.serial import SerialEngine
from sweeps.engines.tally import Timed
from sweeps.feed import StudyFeed
from sweeps.feed_rules import FeedRules
from sweeps.grid_points import GRID_INDEX, free_of
from sweeps.keeping import DEFAULT_KEEPING, Keeping, trials_folder
from sweeps.launch import OpenSweep
from sweeps.leaving import Leaving
from sweeps.member import Member, draining
from sweeps.notes import StudyNotes
from sweeps.numbers import Gauge
from sweeps.plan import plan
from sweeps.pruning import first_epoch, make_pruner
from sweeps.resuming import make_resuming, own_folder
from sweeps.sampling import refills
from sweeps.scripts.child import GRACE_SECONDS as SCRIPT_GRACE_SECONDS

if TYPE_CHECKING:
    import optuna

    from sweeps.config import AnyConfig
    from sweeps.engines.base import Engine
    from sweeps.scripts.program import Program
    from sweeps.space import Space


def to_stderr(text: str) -> None:
    """Print a warning."""
    print(f"Warning: {text}", file=sys.stderr)  # noqa: T201


class Worker:
    """Works on one sweep in this process: `with Worker(sweep) as worker: worker.run()`.

    `changed` is called after each report and finish, and now and then for those of others;
    `progress` is there to be looked at from another thread while `run` works. `leads`: this is
    `sweeps run`, of which there is one at a time, and which plans the known configurations.
    `keeping` says where its checkpoints go, `grace` how long it has to end after a signal,
    `idle_exit` after how long without a trial it leaves, both in seconds, and `warn` is told in a
    line when checkpoints cannot be written.
    """

    def __init__(
        self,
        sweep: OpenSweep,
        changed: Callable[[], None] = lambda: None,
        *,
        leads: bool = True,
        lease_seconds: float = LEASE_SECONDS,
        keeping: Keeping = DEFAULT_KEEPING,
        grace: float = GRACE_SECONDS,
        idle_exit: float = math.inf,
        warn: Callable[[str], None] = to_stderr,
    ) -> None:
        self._sweep, self._changed, self._leads = sweep, changed, leads
        self._keeping, self._warn, self._idle_exit = keeping, warn, idle_exit
        self._device = resolve_device(sweep.spec.device)
        self._lanes = sweep.spec.lanes if isinstance(sweep.spec.lanes, int) else None
        if sweep.spec.program is not None:
            self._lanes = sweep.spec.program.trials_per_device
        self._member = Member(
            sweep,
            device=self._device,
            lanes=self._lanes or 1,
            leads=leads,
            lease_seconds=lease_seconds,
        )
        self._grace = grace
        self._leaving = Leaving(grace, interrupt, self._member.leave)
        self.progress = make_progress(sweep)

    def __enter__(self) -> Self:
        """Join the sweep: from now on this process says that it lives.

        Raises:
            UserError: another live process leads, and this one was to.
        """
        with ExitStack() as stack:
            stack.enter_context(self._leaving)
            stack.enter_context(self._member)
            self._feed = self._make_feed()
            feed = self._feed
            self._engine = self._make_engine()
            gauge = Gauge(self._engine.tally.read)
            self.progress.read_numbers = lambda: {"": gauge.numbers()}
            self._member.beating(
                feed.lose,
                feed.drain,
                self._changed,
                self._obey,
                lambda: gauge.numbers().as_json(),
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> str:
        """Train until the budget is met, or a signal or a command drains; return why it ended.

        Raises:
            SweeplaneError: trials failed one after the other with one cause, here or elsewhere; or
                the study was deleted.
        """
        try:
            with self._member.present():
                if self._leads:
                    plan(self._sweep)
                self._train()
                reason = self._feed.ended or ended_by(self._member.last_order())
        except Exception:
            self._member.ending = "failed"
            raise
        more = self.drained or self._feed.was_idle
        self._member.ending = "drained" if more else "finished"
        return reason

    def _train(self) -> None:
        engine, leaving = self._engine, self._leaving
        feed = Interruptible(self._feed, lambda: self._feed.idle, lambda: leaving.overdue)
        with draining(self.drain, lambda _: None), feed.listening():
            while True:
                try:
                    engine.run(self._sweep.tasks, Timed(feed, engine.tally))
                    return
                except (Interrupted, Cut):
                    self._feed.abandon()

    def _obey(self, order: Order) -> None:
        self._feed.obey(order)
        self.progress.told(note(self._sweep.study.study_name, order))

    def drain(self) -> None:
        """Let the running trial end its epoch, hand it back, and end, within the grace period."""
        self._feed.drain(until=self._leaving.begin())
        self.progress.note = "draining: the epoch ends, then the trial is handed back"

    @property
    def drained(self) -> bool:
        """Whether a signal or a command ended the run before the budget was met."""
        return self._feed.ended is None

    def _make_engine(self) -> Engine:
        sweep, spec = self._sweep, self._sweep.spec
        if spec.program is not None:
            return self._script_engine(spec.program)
        objective = Objective(spec.metric.name, maximize=spec.metric.goal == "maximize")
        if sweep.function is not None:
            folder = trials_folder(*own_folder(sweep, self._keeping))
            return FunctionEngine(sweep.function, self._device, objective, folder)
        if self._lanes == 1:
            return SerialEngine(self._device, spec.precision, objective, self._warn)
        return LanesEngine(
            self._device,
            spec.precision,
            objective,
            self._lanes,
            self._warn,
            compiling=spec.compile,
            notes=StudyNotes(sweep.storage, sweep.study._study_id),
        )

    def _script_engine(self, program: Program) -> Engine:
        sweep = self._sweep
        name, study_id = sweep.study.study_name, sweep.study._study_id
        folder = trials_folder(*own_folder(sweep, self._keeping))
        metric = sweep.spec.metric.name
        grace = min(SCRIPT_GRACE_SECONDS, 3 / 8 * self._grace)  # before the engine is cut
        own = (program, metric, name, study_id, folder, self._device, grace)
        return ScriptEngine(Scripts(*own))

    def _make_feed(self) -> StudyFeed:
        sweep, spec = self._sweep, self._sweep.spec
        maximize = spec.metric.goal == "maximize"
        stopper = spec.early_terminate
        min_epochs = first_epoch(stopper, sweep.horizon, longest_warmup(spec.space))
        sweep.study.pruner = make_pruner(stopper, sweep.horizon, min_epochs)
        rules = FeedRules(
            metric=spec.metric.name,
            maximize=maximize,
            take=spec.metric.take,
            repeats=spec.repeats,
            seed=spec.seed,
            min_epochs=min_epochs,
            trial_seconds=spec.budget.trial_time or math.inf,
            failures=spec.budget.failures,
            budget=make_budget(spec),
            learns=learns(spec),
        )
        asker = Asker(
            sweep.study,
            self._member.holding,
            suggest=partial(_suggest, sweep),
            sampler=refills(spec.method, spec.space, spec.seed),
            points=_points(sweep),
            places=spec.budget.trials,
        )
        return StudyFeed(
            sweep.study,
            self._member.holding,
            rules,
            asker=asker,
            resuming=make_resuming(sweep, self._member.holding, self._keeping, self._warn),
            exhausted=lambda trials: exhausted(sweep, trials),
            elapsed=self._member.elapsed,
            progress=self.progress,
            changed=self._changed,
            idle_exit=self._idle_exit,
        )


def _suggest(sweep: OpenSweep, trial: optuna.Trial) -> AnyConfig:
    sampled = sweep.spec.space.suggest(trial)
    sizes = {"epochs": sweep.epochs, "batch_size": sweep.batch_size}
    config: AnyConfig = sweep.spec.space.config(sampled, **sizes)
    return config


def _points(sweep: OpenSweep) -> Points | None:
    if sweep.spec.method != "grid":
        return None
    return Points(GRID_INDEX, partial(free_of, sweep.spec.space.size() or 0))


def longest_warmup(space: Space) -> float:
    """Return the largest part of a trial that its warmup (one_cycle: its rise) may take."""
    rises = {name: SCHEDULES[name].rise for name in space.schedules}
    warmups = [knob for knob in space.knobs if rises.get(knob.owner.which) == knob.name]
    return max(((knob.distribution.bounds() or (0, 0))[1] for knob in warmups), default=0.0)
