"""`ScriptEngine`: a trial is a run of a script, of which several share a device.

One thread watches all of them. A trial that is pruned, out of time or drained is ended by SIGTERM,
then by SIGKILL; nothing of it is left when the feed hears of its end. A trial that is taken over
starts anew, in the same folder, where its script may find what it has kept.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engines.base import Ending, Feed, Outcome, Tasks, Trial
from sweeps.engines.script.run import Run
from sweeps.engines.tally import Tally
from sweeps.scripts.child import GRACE_SECONDS, Child
from sweeps.scripts.environment import Place, environment, write_parameters
from sweeps.scripts.macros import args_json, argv, wants_args_file

if TYPE_CHECKING:
    from sweeps.scripts.program import Program

LOOK_SECONDS = 0.1  # between two looks at clocks and metrics files
ASK_SECONDS = 1.0  # between two questions for trials that others may have left
ROUNDS = 64  # of reports to the feed, before the scripts are heard again


@dataclass(frozen=True)
class Scripts:
    """What the engine runs: `folder` has a folder for each trial of the study.

    A script that is to end has `grace_seconds` from SIGTERM to SIGKILL.
    """

    program: Program
    metric: str
    study: str
    study_id: int
    folder: Path
    device: str
    grace_seconds: float = GRACE_SECONDS


class ScriptEngine:
    """Runs up to `program.trials_per_device` scripts at once."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._runs: list[Run] = []
        self._tally = Tally()

    @property
    def tally(self) -> Tally:
        """What it has done so far."""
        return self._tally

    def run(self, tasks: Tasks, feed: Feed) -> None:
        try:
            while self._refill(feed):
                self._watch(feed)
        finally:
            for run in self._runs:
                run.close()
            self._runs = []

    def _refill(self, feed: Feed) -> bool:
        """Take trials for the free places; False where none is left."""
        free = self._scripts.program.trials_per_device - len(self._runs)
        taken = feed.take(free) if free > 0 else []
        for trial in taken:
            try:
                self._runs.append(self._start(trial))
            except (OSError, ValueError) as error:  # no memory, no disk, a NUL in a value
                why = f"the script could not be started: {type(error).__name__}: {error}"
                feed.finish([Outcome(trial.number, Ending.FAILED, 0, 0.0, 0.0, error=why)])
        self._tally.models = self._tally.lanes = len(self._runs)
        return bool(taken or self._runs)

    def _start(self, trial: Trial) -> Run:
        scripts = self._scripts
        program, params = scripts.program, trial.config.params
        folder = (scripts.folder / str(trial.number)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        metrics_file = None
        if program.metrics_file is not None:
            name = program.metrics_file.replace("{trial}", str(trial.number))
            metrics_file = program.directory.absolute() / name

        def start(address: Path) -> Child:
            own = (scripts.study, scripts.study_id, trial.number, folder)
            place = Place(*own, address, scripts.device, scripts.metric)
            around = environment(place, program.env)
            args_file = place.parameters_file.with_suffix(".json")
            write_parameters(place, params)
            if wants_args_file(program, around):
                args_file.write_text(args_json(params))
            words = argv(program, params, around, args_file)
            own_folder, grace = program.directory.absolute(), scripts.grace_seconds
            return Child(words, around, own_folder, tidy=address, grace_seconds=grace)

        return Run(trial, scripts.metric, folder, start, metrics_file)

    def _watch(self, feed: Feed) -> None:
        """Hear the scripts until a place is free, or it is time to ask for trials again."""
        places, asked = self._scripts.program.trials_per_device, time.monotonic()
        while self._runs:
            began = time.monotonic()
            with self._tally.spent("training"):
                self._hear()
            self._report(feed)
            self._look_at_clocks(feed)
            took = (time.monotonic() - began) / len(self._runs)
            for run in self._runs:
                run.device_seconds += took
            if self._finish(feed):
                return
            if len(self._runs) < places and time.monotonic() - asked >= ASK_SECONDS:
                return

    def _hear(self) -> None:
        poll = select.poll()
        for run in self._runs:
            for descriptor in run.watched():
                poll.register(descriptor, select.POLLIN)
        behind = any(run.behind for run in self._runs)
        ready = {found for found, _ in poll.poll(0 if behind else LOOK_SECONDS * 1000)}
        for run in self._runs:
            run.read(ready)

    def _report(self, feed: Feed) -> None:
        """Tell the feed what waits, in the order in which it came."""
        for _ in range(ROUNDS):
            reported = {run: points for run in self._runs if (points := run.points())}
            if not reported:
                return
            stop = feed.report([point for points in reported.values() for point in points])
            for run in reported:
                run.decided(stop=run.trial.number in stop)

    def _look_at_clocks(self, feed: Feed) -> None:
        going = {run.trial.number: run.seconds for run in self._runs if not run.stopped}
        stop = feed.to_stop(going) if going else set()
        for run in self._runs:
            if run.trial.number in stop and not run.ended:
                run.stop()
            run.tend()

    def _finish(self, feed: Feed) -> bool:
        """Tell the feed of the scripts that have ended; return whether there were any."""
        over = [run for run in self._runs if run.over]
        if not over:
            return False
        outcomes = [run.outcome() for run in over]
        self._runs = [run for run in self._runs if not run.over]
        for run in over:
            run.close()
        feed.finish(outcomes)
        return True
