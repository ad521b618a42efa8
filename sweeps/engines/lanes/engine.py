"""`LanesEngine`: many models train at once; a trial that ends leaves its lanes to the next.

Trials that share a model, its data and the batch size (`Cohort`) train as one program (`Group`).
What cannot be stacked (an optimizer of another library, a model that `torch.vmap` refuses) trains
beside them, one model after the other, as the serial engine does it. A program that fails is taken
apart: its trials train this epoch one by one, from where they were, so that only the one at fault
ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from sweeps.device import name_of
from sweeps.engines.base import (
    Cut,
    Feed,
    Notes,
    Objective,
    Outcome,
    Outlook,
    Point,
    State,
    Tasks,
    Trial,
)
from sweeps.engines.lanes.cohort import Cohort
from sweeps.engines.lanes.group import Group
from sweeps.engines.lanes.ladder import Ladder, asked_for
from sweeps.engines.lanes.memory import is_out_of_memory
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.run import Run
from sweeps.engines.lanes.saying import in_a_line
from sweeps.engines.lanes.trying import Trying
from sweeps.engines.replica import Data, mean
from sweeps.engines.setting import Setting
from sweeps.engines.tally import Tally

_MOST = {"cpu": 64, "cuda": 256}
"""The most lanes to find out about: a processor's caches are full long before."""


class LanesEngine:
    """Trains up to `lanes` models at once (None: as many as pay on the device); see `Setting`.

    `say` gets a line when trials cannot be stacked, and on how a task's data is read. `notes` keeps
    what was found out about lanes; `compiling` is "auto", True or False.
    """

    def __init__(
        self,
        device: str,
        precision: str,
        objective: Objective,
        lanes: int | None,
        say: Callable[[str], None] = lambda _: None,
        *,
        compiling: bool | str = "auto",
        notes: Notes | None = None,
    ) -> None:
        self._setting = Setting(device, precision, objective, say)
        self._lanes, self._say, self._compiling = lanes, say, compiling
        self._notes: Notes = {} if notes is None else notes
        threads, cores = torch.get_num_threads(), os.cpu_count()
        self._hardware = (
            f"{name_of(device)}, {cores} cores, {threads} threads, torch {torch.__version__}, "
            f"{precision}"
        )

    def run(self, tasks: Tasks, feed: Feed) -> None:
        self._start(feed.outlook)
        try:
            while self._refill(tasks, feed):
                if self._runs:  # not all of them have failed at once
                    self._epoch(feed)
                    self._report(feed)
        except Cut:
            self._hand_over(feed)

    def try_out(self, tasks: Tasks, trial: Trial) -> Trying:
        """Take a few steps of a trial and of lanes like it, to see how it would train."""
        self._start(Outlook)
        run = Run(trial, self._setting.device)
        self._begin(run, tasks)
        return Trying.of(run, self._setting)

    @property
    def tally(self) -> Tally:
        """What it has done so far."""
        return self._setting.tally

    def _start(self, outlook: Callable[[], Outlook]) -> None:
        self._setting.warm_up()
        # What was interrupted is not gone on with.
        self._runs: list[Run] = []
        self._cohorts: dict[str, Cohort] = {}
        self._ended = 0
        self._outlook, self._seen = outlook, outlook()
        self._programs = Programs(
            self._compiling, self._seconds_left, self._say, self._setting.clock
        )

    def _seconds_left(self, spent: float) -> float:
        """Return for how long steps are yet to be taken, after as many seconds of them."""
        outlook = self._seen
        begun: float = sum(run.epoch / run.trial.config.epochs for run in self._runs)
        each = spent / max(self._ended + begun, 1e-9)
        return min(outlook.seconds, (outlook.trials + len(self._runs) - begun) * each)

    def _refill(self, tasks: Tasks, feed: Feed) -> bool:
        """Take trials for the lanes that nobody has; the first one says how many there are.

        False where none is left.
        """
        if self._programs.undecided:
            self._seen = feed.outlook()
        more, any_taken = True, False
        while more:
            wanted = self._room()
            taken = feed.take(wanted) if wanted > 0 else []
            more, any_taken = len(taken) == wanted > 0, any_taken or bool(taken)
            for trial in taken:
                run = Run(trial, self._setting.device)
                try:
                    self._begin(run, tasks)
                except Exception as error:  # the user's own code may raise anything
                    feed.finish([run.fails(error)])
                else:
                    self._runs.append(run)
        for cohort in self._cohorts.values():
            runs = [run for run in self._runs if run.cohort is cohort]
            cohort.seat(runs, fewer=self._room() > 0)
        self._give_up(feed)
        alone = sum(len(run.replicas) for run in self._runs)
        lanes = sum(group.size for each in self._cohorts.values() for group in each.groups)
        models = sum(len(run.trial.seeds) for run in self._runs)
        self.tally.models, self.tally.lanes = models, lanes + alone
        return any_taken or bool(self._runs)

    def _room(self) -> int:
        """How many trials more may train now."""
        if not self._runs:
            return 1
        most = max(run.cohort.ladder.most for run in self._runs)
        used = sum(len(run.trial.seeds) for run in self._runs)
        return max(most - used, 0) // len(self._runs[0].trial.seeds)

    def _begin(self, run: Run, tasks: Tasks) -> None:
        trial, config = run.trial, run.trial.config
        run.data = self._open(tasks, trial)
        run.replicas = self._setting.replicas(run.data, trial)
        key = json.dumps([config.task_args, config.batch_size], sort_keys=True)
        if key not in self._cohorts:
            self._cohorts[key] = Cohort(key, self._setting, self._programs, self._climb, self._say)
        run.cohort = self._cohorts[key]
        run.cohort.take_up(run)

    def _climb(self, cohort: Cohort, run: Run) -> Ladder:
        """Return the ladder of a cohort: the one that was asked for, known, or found out now."""
        if self._lanes is not None:
            return asked_for(self._lanes)
        at_once = self._outlook().at_once * len(run.trial.seeds)
        most = min(_MOST[self._setting.device.type], at_once)
        size = sum(p.numel() for p in run.replicas[0].model.parameters())
        text = f"{self._hardware}, {size} parameters: {cohort.key}"
        key = hashlib.sha256(text.encode()).hexdigest()
        known = self._notes.get(key)
        if known is not None:
            return Ladder.from_json(known).up_to(max(int(most), 1))
        found = cohort.probe(run, _MOST[self._setting.device.type])
        if found.seconds:  # that lanes do not pay may be another process's doing: not noted
            self._notes[key] = found.as_json()
        return found.up_to(max(int(most), 1))

    def _open(self, tasks: Tasks, trial: Trial) -> Data:
        """Return the trial's task on the device; those in use stay there."""
        task = tasks(trial.config.task_args)
        for run in self._runs:
            if run.data.task is task:
                return run.data
        return self._setting.open(task)

    def _epoch(self, feed: Feed) -> None:
        """Train every run one epoch; end those that cannot be trained."""
        for cohort in self._cohorts.values():
            trained: list[Group] = []
            while waiting := [group for group in cohort.groups if group not in trained]:
                trained.append(waiting[0])
                self._together(cohort, waiting[0])
        self._give_up(feed)
        for run in [run for run in self._runs if run.group is None and not run.measured]:
            try:
                run.alone()
            except Exception as error:
                self._end(feed, [run.fails(error)])

    def _report(self, feed: Feed) -> None:
        """Report those that have ended an epoch, and end those that are at their end."""
        ended: list[Outcome] = []
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
        self._end(feed, ended)

    def _hand_over(self, feed: Feed) -> None:
        """After a `Cut`: report the epochs that have ended, and let go of the other trials."""
        self._give_up(feed)
        self._report(feed)
        self._end(feed, [run.cut(partial(self._state, run)) for run in self._runs])

    def _end(self, feed: Feed, ended: Sequence[Outcome]) -> None:
        if ended:
            feed.finish(ended)  # which may ask for the state of a run in its lanes
        self._leave({outcome.number for outcome in ended})

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
                replicas = run.cohort.states(run)
        return mean([replica.evaluate("test", test) for replica in replicas])

    def _together(self, cohort: Cohort, group: Group) -> None:
        """Train a group's runs; if the program fails, go on otherwise, where the epoch began."""
        runs = [run for run in self._runs if run.group is group]
        restore: Callable[[], None] = lambda: None  # noqa: E731  (while nothing has changed)
        began, aside = time.perf_counter(), self._programs.aside
        try:
            restore = group.keep()
            found = group.epoch()
        except Exception as error:
            restore()
            reason = in_a_line(error)
            short = is_out_of_memory(error) and group.size > 1
        except Cut:
            restore()
            raise
        else:
            seconds = time.perf_counter() - began - (self._programs.aside - aside)
            for run in runs:
                run.took(seconds, share=1 / len(runs))
                run.measured = [found[lane] for lane in run.lanes]
            return
        del restore  # what it holds, and the error's, is free before there is more
        if short:
            self._say(f"{group.size} lanes need more memory than there is: {reason}")
            cohort.halve(group, runs)
        else:
            self._say(f"{len(runs)} trials go on one by one: {reason}")
            cohort.take_apart(group, runs)

    def _give_up(self, feed: Feed) -> None:
        """End the trials whose models could not be made anew."""
        for cohort in self._cohorts.values():
            for run, error in cohort.failed:
                feed.finish([run.fails(error)])
                self._leave({run.trial.number})
            cohort.failed.clear()

    def _point(self, run: Run) -> Point:
        values = run.values()
        diverged = self._setting.objective.diverged(values)
        last = run.epoch == run.trial.config.epochs
        state = None if diverged or last else partial(self._state, run)
        return Point(run.trial.number, run.epoch, values, run.seconds, diverged, state)

    def _state(self, run: Run) -> State:
        replicas = run.replicas or run.cohort.states(run)
        return run.state([replica.state() for replica in replicas])

    def _leave(self, numbers: set[int]) -> None:
        for run in self._runs:
            if run.trial.number in numbers:
                run.unseat([])
        self._runs = [run for run in self._runs if run.trial.number not in numbers]
        self._ended += len(numbers)
