"""Small scripts and a feed that remembers, for tests of the engine that runs them."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.config import ScriptConfig
from sweeps.engines.base import Outcome, Outlook, Point, Trial
from sweeps.engines.script.engine import ScriptEngine, Scripts
from sweeps.scripts.program import DEFAULT_COMMAND, Program

ROOT = Path(__file__).parents[3]


class Remembering:
    """A feed of given trials; `judge` says which points stop theirs, `clock` which trials now."""

    def __init__(
        self,
        trials: Sequence[Mapping[str, Any]],
        judge: Callable[[Point], bool] = lambda _: False,
        clock: Callable[[Mapping[int, float]], set[int]] = lambda _: set(),
    ) -> None:
        self.trials = [Trial(n, ScriptConfig(params), (n,)) for n, params in enumerate(trials)]
        self.judge, self.clock = judge, clock
        self.points: list[Point] = []
        self.outcomes: dict[int, Outcome] = {}
        self.at_once = self._running = 0

    def outlook(self) -> Outlook:
        return Outlook()

    def take(self, n: int) -> list[Trial]:
        taken, self.trials = self.trials[:n], self.trials[n:]
        self._running += len(taken)
        self.at_once = max(self.at_once, self._running)
        return taken

    def report(self, points: Sequence[Point]) -> set[int]:
        self.points += points
        return {point.number for point in points if self.judge(point)}

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        return self.clock(seconds)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        self._running -= len(outcomes)
        self.outcomes |= {outcome.number: outcome for outcome in outcomes}

    def curve(self, number: int = 0, name: str = "val_loss") -> list[float]:
        """Return a trial's curve, its numbers checked."""
        own = [point for point in self.points if point.number == number]
        assert [point.epoch for point in own] == list(range(1, len(own) + 1))
        return [point.values[name] for point in own if name in point.values]


def program(folder: Path, script: str, **more: Any) -> Program:
    """Write a script and return the program that runs it by this Python."""
    (folder / "train.py").write_text(textwrap.dedent(script))
    more = {"env": {"PYTHONPATH": str(ROOT)}, **more}
    return Program(more.pop("command", DEFAULT_COMMAND), "train.py", folder, **more)


def run(given: Program, feed: Remembering, metric: str = "val_loss", **more: Any) -> None:
    """Run the feed's trials until there is none."""
    more = {"device": "cpu", **more}
    scripts = Scripts(given, metric, "a study", 7, given.folder / "trials", **more)
    ScriptEngine(scripts).run(lambda _: None, feed)


def alive(process: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until(so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.01)


def wait_for(file: Path) -> str:
    """Return the text of a file once there is some."""
    until(lambda: file.exists() and bool(file.read_text()))
    return file.read_text()


def gone(process: int) -> bool:
    """Return whether a process ends in time."""
    until(lambda: not alive(process))
    return True
