"""`LanesEngine`: up to K models train at once; a trial that ends leaves its lanes to the next.

Trials that share a model, its data and the batch size train as one program (`Group`). What cannot
be stacked (an optimizer of another library, a model that `torch.vmap` refuses) trains beside them,
one model after the other, as the serial engine does it. A program that fails is taken apart: its
trials train this epoch one by one, from where they were, so that only the one at fault ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from optimizers import RULES
from sweeps.engines.base import Feed, Objective, Outcome, Point, State, Tasks, Trial
from sweeps.engines.lanes.fusing import Fusing, try_fusing
from sweeps.engines.lanes.group import Group
from sweeps.engines.lanes.run import Run
from sweeps.engines.replica import Data, Replica, mean
from sweeps.engines.setting import Setting


class LanesEngine:
    """Trains up to `lanes` models at once; see `Setting`.

    `say` gets a line when trials cannot be stacked, and on how a task's data is read.
    """

    def __init__(
        self,
        device: str,
        precision: str,
        objective: Objective,
        lanes: int,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._setting = Setting(device, precision, objective, say)
        self._lanes, self._say = lanes, say
        self._groups: dict[str, Group] = {}
        self._fusings: dict[str, Fusing] = {}
        self._runs: list[Run] = []

    def run(self, tasks: Tasks, feed: Feed) -> None:
        self._setting.warm_up()
        self._runs, self._groups = [], {}  # what was interrupted is not gone on with
        while True:
            self._refill(tasks, feed)
            if not self._runs:
                return
            self._train(feed)

    def _refill(self, tasks: Tasks, feed: Feed) -> None:
        """Take trials for the lanes that nobody has; the first one says how many a trial needs."""
        while True:
            known = bool(self._runs)
            room = self._lanes - sum(len(run.trial.seeds) for run in self._runs)
            wanted = room // len(self._runs[0].trial.seeds) if known else 1
            taken = feed.take(wanted) if wanted > 0 else []
            for trial in taken:
                run = Run(trial, self._setting.device)
                try:
                    self._begin(run, tasks)
                except Exception as error:  # the user's own code may raise anything
                    feed.finish([run.fails(error)])
                else:
                    self._runs.append(run)
            if known or not taken:
                return

    def _begin(self, run: Run, tasks: Tasks) -> None:
        trial = run.trial
        run.data = self._open(tasks, trial)
        run.replicas = self._setting.replicas(run.data, trial)
        self._seat(run)

    def _seat(self, run: Run) -> None:
        """Give a run lanes of its group, where it can have them."""
        config, data = run.trial.config, run.data
        if config.optimizer not in RULES:
            return
        key = json.dumps([config.task_args, config.batch_size], sort_keys=True)
        if key not in self._fusings:
            batch = next(iter(data.train.shuffled(config.batch_size, 0)))
            make = partial(self._setting.model, data)
            self._fusings[key] = try_fusing(make, batch, data.task.loss, self._setting.context)
            if reason := self._fusings[key].reason:
                self._say(f"trials of this model train one by one: {reason}")
        fusing = self._fusings[key]
        if fusing.reason:
            return
        if key not in self._groups:
            self._groups[key] = Group(
                data,
                config.batch_size,
                self._lanes,
                self._setting,
                fusing.untrained,
            )
        group = self._groups[key]
        if len(group.free) < len(run.replicas):
            return
        run.group, run.lanes = group, group.free[: len(run.replicas)]
        for lane, replica in zip(run.lanes, run.replicas, strict=True):
            group.seat(lane, config, replica)
        run.replicas = []

    def _open(self, tasks: Tasks, trial: Trial) -> Data:
        """Return the trial's task on the device; those in use stay there."""
        task = tasks(trial.config.task_args)
        for run in self._runs:
            if run.data.task is task:
                return run.data
        return self._setting.open(task)

    def _train(self, feed: Feed) -> None:
        """Train every run one epoch, report, and end those that are at their end."""
        ended: list[Outcome] = []
        for group in list(self._groups.values()):
            self._together([run for run in self._runs if run.group is group], group)
        for run in [run for run in self._runs if run.group is None and not run.measured]:
            try:
                run.alone()
            except Exception as error:
                ended.append(run.fails(error))
        points = [self._point(run) for run in self._runs if run.measured]
        stop = feed.report(points) if points else set()
        diverged = {point.number for point in points if point.diverged}
        tests: dict[int, list[dict[str, float]]] = {}
        for run in [run for run in self._runs if run.measured]:
            number = run.trial.number
            try:
                tested = partial(self._tested, run, tests)
                ended += run.outcome(number in stop, number in diverged, tested)
            except Exception as error:  # a metric on the test data
                ended.append(run.fails(error))
        self._leave({outcome.number for outcome in ended})
        if ended:
            feed.finish(ended)

    def _tested(self, run: Run, found: dict[int, list[dict[str, float]]]) -> dict[str, float]:
        """Return a trained run's test metrics; a group's are worked out for all lanes at once."""
        test, group = run.data.test, run.group
        if test is None:
            return {}
        replicas = run.replicas
        if group is not None:
            try:
                if id(group) not in found:
                    found[id(group)] = group.evaluate("test", test)
                return mean([found[id(group)][lane] for lane in run.lanes])
            except Exception:  # of which lane shows when each is evaluated by itself
                replicas = self._states(run)
        return mean([replica.evaluate("test", test) for replica in replicas])

    def _together(self, runs: list[Run], group: Group) -> None:
        """Train a group's runs; if the program fails, take it apart, where the epoch began."""
        if not runs:
            return
        restore = group.keep()
        began = time.perf_counter()
        try:
            found = group.epoch()
        except Exception as error:
            self._say(f"{len(runs)} trials go on one by one: {type(error).__name__}: {error}")
            restore()
            for run in runs:
                run.unseat(self._states(run))
            return
        seconds = time.perf_counter() - began
        for run in runs:
            run.took(seconds, share=1 / len(runs))
            run.measured = [found[lane] for lane in run.lanes]

    def _states(self, run: Run) -> list[Replica]:
        """Return a seated run's models as replicas of their own."""
        assert run.group is not None
        made = [self._setting.replica(run.data, run.trial, seed) for seed in run.trial.seeds]
        for lane, replica in zip(run.lanes, made, strict=True):
            run.group.fill(lane, replica)
        return made

    def _point(self, run: Run) -> Point:
        values = run.values()
        diverged = self._setting.objective.diverged(values)
        last = run.epoch == run.trial.config.epochs
        state = None if diverged or last else partial(self._state, run)
        return Point(run.trial.number, run.epoch, values, run.seconds, diverged, state)

    def _state(self, run: Run) -> State:
        replicas = run.replicas or self._states(run)
        return run.state([replica.state() for replica in replicas])

    def _leave(self, numbers: set[int]) -> None:
        for run in self._runs:
            if run.trial.number in numbers:
                run.unseat([])
        self._runs = [run for run in self._runs if run.trial.number not in numbers]
        used = {id(run.group) for run in self._runs}
        self._groups = {key: group for key, group in self._groups.items() if id(group) in used}
