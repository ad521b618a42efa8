"""`Cohort`: the runs that share a model, its data and the batch size, and the groups they train in.

Which groups, and with how many lanes each, follows from how many runs there are: the ladder says
which number is the cheapest. A run moves between groups, and out of them, with all of its state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from optimizers import RULES
from sweeps.engines.lanes.fusing import Fusing, try_fusing
from sweeps.engines.lanes.group import Group
from sweeps.engines.lanes.ladder import ALONE, Ladder
from sweeps.engines.lanes.memory import is_out_of_memory
from sweeps.engines.lanes.probing import probe
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.run import Run
from sweeps.engines.replica import Data, Replica
from sweeps.engines.setting import Setting


class Cohort:
    """The runs of one `key`; `climb` gives the ladder of a first run, once it is known to fuse."""

    def __init__(
        self,
        key: str,
        setting: Setting,
        programs: Programs,
        climb: Callable[[Cohort, Run], Ladder],
        say: Callable[[str], None],
    ) -> None:
        self.key, self._setting, self._programs = key, setting, programs
        self._climb, self._say = climb, say
        self._fusing: Fusing | None = None
        self.ladder = Ladder({}, 1.0)
        self.groups: list[Group] = []
        self.failed: list[tuple[Run, Exception]] = []
        """Runs whose models could not be made anew; who finds them ends them."""

    @property
    def why_alone(self) -> str:
        """Why its models are not stacked; empty where they are."""
        if self._fusing is None:
            return "only optimizers of another library have been here"
        return self._fusing.reason

    def take_up(self, run: Run) -> None:
        """Look at the first run: do such models fuse, and with how many lanes?"""
        if self._fusing is not None or run.trial.config.optimizer not in RULES:
            return
        batch = next(iter(run.data.train.shuffled(run.trial.config.batch_size, 0)))
        make = partial(self._setting.model, run.data)
        self._fusing = try_fusing(make, batch, run.data.task.loss, self._setting.context)
        if self._fusing.reason:
            self._say(f"trials of this model train one by one: {self._fusing.reason}")
            return
        try:
            self.ladder = self._climb(self, run)
        except BaseException:
            self._fusing = None  # the next run looks again
            raise

    def group(self, data: Data, batch_size: int, lanes: int) -> Group:
        """Make a group with free lanes."""
        assert self._fusing is not None
        return Group(
            data, batch_size, lanes, self._setting, self._fusing.untrained, self._programs, self.key
        )

    def probe(self, run: Run, most: int) -> Ladder:
        """Find out with how many lanes models like the run's train soonest."""
        config, seed = run.trial.config, run.trial.seeds[0]
        alone, fresh = (self._setting.replica(run.data, run.trial, seed) for _ in range(2))

        def make(lanes: int) -> Group:
            group = self.group(run.data, config.batch_size, lanes)
            for lane in range(lanes):
                group.seat(lane, config, fresh)
            return group

        return probe(alone, make, most)

    def seat(self, runs: list[Run], *, fewer: bool) -> None:
        """Give lanes to those of the cohort's runs that are to have some.

        `fewer`: no more trials come, so that groups with idle lanes go on with fewer lanes.
        """
        waiting = [run for run in runs if run.group is None and run.may_fuse]
        for group in list(self.groups):
            seated = [run for run in runs if run.group is group]
            used = sum(len(run.lanes) for run in seated)
            wanted = sum(len(run.replicas) for run in waiting)
            grows = used + wanted > group.size and group.size < self.ladder.most
            if not seated or grows or (fewer and self._pays(group, seated, used)):
                waiting = self._dissolve(group, seated) + waiting
        for group in self.groups:
            waiting = self._fill(group, waiting)
        self._place(waiting)

    def _pays(self, group: Group, seated: list[Run], used: int) -> bool:
        """Do fewer lanes save more, until the last run ends, than beginning with them takes?"""
        lanes = self.ladder.lanes_for(used)
        if lanes == group.size:
            return False
        epochs = max(run.trial.config.epochs - run.epoch for run in seated)
        saved = self.ladder.saved(group.size, lanes, used)
        return bool(group.seconds * epochs * saved > self._programs.seconds_to_trace)

    def _place(self, waiting: list[Run]) -> None:
        """Make groups for runs, as long as lanes pay and there is memory."""
        while waiting:
            models = sum(len(run.replicas) for run in waiting)
            lanes = self.ladder.lanes_for(models)
            if lanes == ALONE or lanes < len(waiting[0].replicas):
                return
            made: list[Group] = []
            try:
                made.append(self.group(waiting[0].data, waiting[0].trial.config.batch_size, lanes))
                self.groups += made
                waiting = self._fill(made[0], waiting)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.ladder = self.ladder.up_to(lanes // 2)
            else:
                continue
            seated = [run for run in waiting if run.group in made]
            rest = [run for run in waiting if run.group not in made]
            waiting = [run for group in made for run in self._dissolve(group, seated)] + rest

    def halve(self, group: Group, runs: list[Run]) -> None:
        """The group's program does not fit into memory: its runs go on with half of the lanes."""
        self.ladder = self.ladder.up_to(group.size // 2)
        self._place(self._dissolve(group, runs))

    def take_apart(self, group: Group, runs: list[Run]) -> None:
        """The group's program fails: its runs do this epoch one by one, from where it began."""
        for run in self._dissolve(group, runs):
            run.apart, run.may_fuse = run.apart + 1, False

    def _dissolve(self, group: Group, runs: list[Run]) -> list[Run]:
        """End a group; return those of its runs that go on, the others are `failed`."""
        self.groups.remove(group)
        left = []
        for run in runs:
            try:
                run.unseat(self.states(run))
            except Exception as error:  # the user's own code makes the models
                run.unseat([])
                self.failed.append((run, error))
            else:
                left.append(run)
        return left

    def states(self, run: Run) -> list[Replica]:
        """Return a seated run's models as replicas of their own."""
        assert run.group is not None
        made = [self._setting.replica(run.data, run.trial, seed) for seed in run.trial.seeds]
        for lane, replica in zip(run.lanes, made, strict=True):
            run.group.fill(lane, replica)
        return made

    def _fill(self, group: Group, waiting: list[Run]) -> list[Run]:
        """Seat runs as long as there are lanes; return those that are left."""
        left = []
        for run in waiting:
            lanes = group.free[: len(run.replicas)]
            if len(lanes) < len(run.replicas):
                left.append(run)
                continue
            try:
                for lane, replica in zip(lanes, run.replicas, strict=True):
                    group.seat(lane, run.trial.config, replica)
            except Exception as error:  # a value that the algorithm does not take
                for lane in lanes:
                    group.leave(lane)
                if is_out_of_memory(error):
                    raise
                self.failed.append((run, error))
            else:
                run.sit(group, lanes)
        return left
