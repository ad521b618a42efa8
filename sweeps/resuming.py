"""Trials that go on: their states written while they train, and found again when they are taken.

    begin    trials that were begun before, rewound to their last checkpoint
    offer    a point's state, written when it is due, or when the trial is handed back
    leave    the state of a trial that is handed back in the middle of an epoch
    end      a trial's files go when it has ended

A folder that is full or read-only and a state that no file can hold never fail a trial: one
warning says so, and the trial starts from its first epoch where it is taken over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from studies import Drawn, Holding, UserError, get_sweep
from sweeps import checkpoints
from sweeps.checkpoints import Owner
from sweeps.keeping import Every, Keeping, default_folder, study_folder
from sweeps.state_tree import UnstorableError

if TYPE_CHECKING:
    from sweeps.engines.base import Outcome, Point, State, Trial
    from sweeps.launch import OpenSweep


@dataclass
class _Kept:
    """A trial in training, and when its state was written last."""

    trial: Trial
    token: int
    epoch: int
    seconds: float
    storable: bool = True


@dataclass(frozen=True)
class Begun:
    """A trial and the curve that it has so far: epoch -> objective."""

    trial: Trial
    curve: Mapping[int, float]


class Resuming:
    """The checkpoints of the trials of one worker.

    `folder` is the study's; `every` None: none are written or looked for, and a trial that was
    begun before starts anew. `warn` gets each kind of trouble once, in a line.
    """

    def __init__(
        self,
        holding: Holding,
        owner: Owner,
        folder: Path,
        every: Every | None,
        warn: Callable[[str], None],
    ) -> None:
        self._holding, self._owner, self._folder, self._every = holding, owner, folder, every
        self._warn, self._warned = warn, set[str]()
        self.until = math.inf  # by `time.monotonic`: what is not written by then is left
        self._kept: dict[int, _Kept] = {}  # by number

    def begin(self, trials: Mapping[int, Begun]) -> dict[int, Begun]:
        """Return trials, by id, as they are to be trained; those lost meanwhile are left out.

        What a trial's curve has beyond its checkpoint is deleted, of all in one transaction.
        """
        holding = self._holding
        starts = {id_: self._find(each) for id_, each in trials.items() if each.curve}
        rewound = [
            Drawn(id_, {}, rewind=start.epoch if start else 0) for id_, start in starts.items()
        ]
        lost = holding.storage.draw(rewound, holding.fence) if rewound else set()
        found = {}
        for id_, each in trials.items():
            if id_ in lost:
                holding.drop(id_)
                continue
            start = starts.get(id_)
            epoch, seconds = (start.epoch, start.seconds) if start else (0, 0.0)
            trial = replace(each.trial, start=start)
            self._kept[trial.number] = _Kept(trial, holding.tokens[id_], epoch, seconds)
            curve = {step: value for step, value in each.curve.items() if step <= epoch}
            found[id_] = Begun(trial, curve)
        return found

    def offer(self, point: Point, *, leaving: bool) -> None:
        """Write the state of a trial if it is due, or if the trial is `leaving` this worker."""
        kept = self._kept[point.number]
        if self._every is None or point.state is None or not kept.storable:
            return
        by_time = point.seconds - kept.seconds >= self._every.seconds
        if leaving or by_time or point.epoch - kept.epoch >= self._every.epochs:
            self._write(kept, point.state)
            kept.epoch, kept.seconds = point.epoch, point.seconds

    def leave(self, outcome: Outcome) -> None:
        """Write the state of a trial that was cut in the middle of an epoch."""
        kept = self._kept[outcome.number]
        if self._every is None or outcome.state is None or not kept.storable:
            return
        if kept.epoch < outcome.epochs < kept.trial.config.epochs:
            self._write(kept, outcome.state)

    def end(self, number: int, *, over: bool) -> None:
        """Forget a trial that this worker trains no more; `over`: nobody does, and its files go."""
        self._kept.pop(number, None)
        if over:
            try:
                checkpoints.remove(self._folder, number)
            except OSError as error:
                self._say("removal", f"old checkpoints in {self._folder} stay: {error}")

    def _find(self, begun: Begun) -> State | None:
        if self._every is None:
            return None
        trial, reached = begun.trial, 0
        while reached + 1 in begun.curve:
            reached += 1
        latest = min(reached, trial.config.epochs - 1)

        def refuse(why: str) -> None:
            self._say(why, why)

        try:
            return checkpoints.load(self._folder, self._owner, trial, latest, refuse)
        except OSError as error:
            self._say("reading", f"no checkpoints are read from {self._folder}: {error}")
            return None

    def _write(self, kept: _Kept, state: Callable[[], State]) -> None:
        trial = kept.trial
        if time.monotonic() > self.until:
            self._say(
                "time",
                "the grace period was too short for the checkpoints of all trials: those without "
                "go on from their last one. Give more with --grace",
            )
            return
        try:
            checkpoints.save(self._folder, self._owner, trial, kept.token, state())
        except OSError as error:
            self._say(
                "writing",
                f"checkpoints cannot be written to {self._folder} ({error}): a trial that is taken "
                "over starts from its last one, or from its first epoch. Free some space there, or "
                "give another folder with --checkpoints",
            )
        except UnstorableError as error:
            kept.storable = False
            self._say(
                f"unstorable {error}",
                f"trials like {trial.number} ({trial.config.title}) have no checkpoints: their "
                f"state has {error}, which is neither a number, text nor a tensor. One that is "
                "taken over starts from its first epoch",
            )
        except Exception as error:  # a `state_dict` of the user's own may raise anything
            kept.storable = False
            what = f"{type(error).__name__}: {error}"
            self._say(
                f"state {what}",
                f"trials like {trial.number} ({trial.config.title}) have no checkpoints: asking "
                f"for their state raised {what}. One that is taken over starts from its first "
                "epoch",
            )

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)


def own_folder(sweep: OpenSweep, keeping: Keeping) -> tuple[Path, datetime]:
    """Return the folder of a study's checkpoints, and when the study was made.

    Raises:
        UserError: the study was deleted.
    """
    name = sweep.study.study_name
    found = get_sweep(sweep.storage, name)
    if found is None:
        raise UserError(f"study '{name}' was deleted meanwhile; see `sweeps list`")
    folder = keeping.folder or default_folder(sweep.storage.url)
    return study_folder(folder, name, found.study_id), found.created_at


def make_resuming(
    sweep: OpenSweep, holding: Holding, keeping: Keeping, warn: Callable[[str], None]
) -> Resuming:
    """Return the checkpoints of a worker of `sweep`.

    Raises:
        UserError: the study was deleted.
    """
    folder, created_at = own_folder(sweep, keeping)
    owner = Owner(sweep.study.study_name, created_at.isoformat())
    return Resuming(holding, owner, folder, keeping.every, warn)
