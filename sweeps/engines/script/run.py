"""`Run`: one trial whose script runs.

Values of the metric come by the client or W&B's library (a socket), by the metrics file, or by
`name=value` on stdout. What comes by the socket is believed, and so is a metrics file; stdout
counts for scripts that use neither. A script that has connected may report what it has just
printed, so that waits for its next word.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studies.secrets import mask_passwords
from sweeps.engines.base import Ending, Outcome, Point, Trial
from sweeps.engines.script.reports import Report, Reports, TooMuchError
from sweeps.scripts.channel import Channel, Connection
from sweeps.scripts.child import Child, how_it_ended, read_some
from sweeps.scripts.messages import Message, Pairs
from sweeps.scripts.metrics_file import MetricsFile
from sweeps.scripts.output import OUTPUTS, Output
from sweeps.scripts.program import EXIT_CODE

LEAVE_SECONDS = 5.0
"""For a script that was told to stop, and heeds it, before it is asked by SIGTERM."""
ONE_BY_ONE = 128
"""So many values of a trial are judged each by itself; of a flood, a few at once from there."""
_LAST_LINES = 40
_READS_AT_END = 1024  # of what is left in a pipe, 64 KiB each


class Run:
    """A script in training. `metric` is the sweep's, `folder` the trial's own.

    `start` starts it, given the path of the socket for its reports.
    """

    def __init__(
        self,
        trial: Trial,
        metric: str,
        folder: Path,
        start: Callable[[Path], Child],
        metrics_file: Path | None,
    ) -> None:
        self.trial, self._metric, self._folder = trial, metric, folder
        self._began = time.monotonic()
        self.device_seconds = 0.0
        self._reports = Reports(metric)
        self._answering: list[Report] = []
        self._heard_of = 0  # values that the feed has
        self.stopped = self._diverged = False
        self._ask_at = math.inf  # to end, by SIGTERM
        self._error: str | None = None
        self._pairs = Pairs(metric)
        self._used = False  # has it reported numbers by the socket?
        self._held: list[dict[str, float]] = []  # a printed value, and what was printed after it
        self._outputs = [Output(folder / name) for name in OUTPUTS]
        self._file = None if metrics_file is None else MetricsFile(metrics_file)
        self._channel = Channel()
        try:
            self._child = start(self._channel.path)
        except BaseException:
            self._channel.close()
            raise

    @property
    def seconds(self) -> float:
        """Return for how long the script has run."""
        return time.monotonic() - self._began

    @property
    def ended(self) -> bool:
        """Whether its processes are gone."""
        return self._child.over

    @property
    def over(self) -> bool:
        """Whether its processes are gone, and all that they said was heard by the feed."""
        return self._child.over and not self._reports

    @property
    def behind(self) -> bool:
        """Whether something that was said waits to be heard."""
        asking = any(each.waiting is not None for each in self._channel.connections)
        return asking or bool(self._reports)

    def watched(self) -> list[int]:
        """Return the descriptors to wait for; fewer while much waits for the feed."""
        if self._child.over:
            return []
        always = [self._child.status, self._child.stderr]
        if self._reports.full:
            return always
        more = (
            [self._child.stdout]
            if self._channel.full
            else [self._child.stdout, self._channel.fileno()]
        )
        free = [each.fileno() for each in self._channel.connections if each.waiting is None]
        return always + more + free

    def read(self, ready: set[int]) -> None:
        """Read what has come; a script that has ended is read to its end."""
        child = self._child
        if child.over:
            return
        self._read_reports(ready)
        if child.stderr in ready:
            self._read_output(1)
        if child.stdout in ready:
            self._read_output(0)
        if self._file is not None and not self._reports.full:
            self._told_all(self._file.read())
        if child.status in ready and child.look():
            self._read_rest()

    def points(self) -> list[Point]:
        """Take the next value for the feed, of a flood a few; `decided` is to follow."""
        self._answering = self._reports.take(1 + self._heard_of // ONE_BY_ONE)
        points = []
        for report in self._answering:
            self._heard_of = report.number
            self._diverged = not math.isfinite(report.value)
            values, seconds = dict(report.values), self.seconds
            own = (self.trial.number, report.number, values, seconds, self._diverged)
            points.append(Point(*own))
        return points

    def decided(self, *, stop: bool) -> None:
        """Answer what the feed has heard; `stop`: the trial is to end."""
        if self._child.over and self._child.code == 0 and not self._reports:
            stop = False  # that was its last value
        if stop or self._diverged:
            heeds = all(report.heeds for report in self._answering) and not self._diverged
            self.stop(LEAVE_SECONDS if heeds and not self.stopped else 0.0)
        for report in self._answering:
            if report.to is not None:
                self._answer(report.to, stop=self.stopped)

    def stop(self, leave_seconds: float = 0.0) -> None:
        """End the script: by SIGTERM after `leave_seconds`, then by SIGKILL."""
        self.stopped = True
        self._ask_at = min(self._ask_at, time.monotonic() + leave_seconds)
        self._reports.drop()

    def tend(self) -> None:
        """Ask the script to end when it is time to."""
        if time.monotonic() >= self._ask_at and not self._child.over:
            self._ask_at = math.inf
            self._child.stop()

    def close(self) -> None:
        """Kill what is left of the script, and let everything go."""
        self._channel.close()
        self._child.kill()
        for output in self._outputs:
            output.close()

    def outcome(self) -> Outcome:
        """Return how the trial has ended."""
        used = (self._heard_of, self.seconds, self.device_seconds)

        def end(ending: Ending, **more: Any) -> Outcome:
            folder = str(self._folder)
            return Outcome(self.trial.number, ending, *used, folder=folder, **more)

        if self._diverged:
            return end(Ending.DIVERGED, step=self._heard_of)
        if self.stopped and self._error is None:
            return end(Ending.STOPPED)
        error = self._error or self._why_failed()
        if error is not None:
            lines = "\n".join(self._last_lines(_LAST_LINES))
            return end(Ending.FAILED, error=error, traceback=lines or None)
        late = {name: value for name, value in self._reports.beside.items() if name != "step"}
        return end(Ending.TRAINED, test=late)

    def _why_failed(self) -> str | None:
        if self._child.failed is not None:
            return f"the script could not run: {mask_passwords(self._child.failed)}"
        if self._child.code:
            last = self._last_lines(1)
            how = f"the script {how_it_ended(self._child.code)}"
            return f"{how}: {last[0][:300]}" if last else how
        if self._heard_of == 0:
            return (
                f"the script ended without one value of {self._metric}. Report it by "
                f"sweeps.report, wandb.log, metrics_file, or a line {self._metric}=0.5 on stdout"
            )
        return None

    def _last_lines(self, count: int) -> list[str]:
        """Return the end of stderr; where it is silent, that of stdout."""
        out, err = self._outputs
        return err.last_lines(count) or out.last_lines(count)

    def _read_reports(self, ready: set[int]) -> None:
        channel = self._channel
        if channel.fileno() in ready:
            channel.accept()  # before what it may have printed since
        self._refused(channel.read(lambda each: each.fileno() in ready))
        for connection in channel.connections:
            if connection.waiting is not None and not self._reports.awaited(connection):
                self._heard(connection.waiting, connection)

    def _heard(self, message: Message, connection: Connection) -> None:
        if message.values:
            self._used, self._held = True, []
        if self.stopped:
            if self._ask_at < math.inf:  # it was told before, and goes on
                self._ask_at = 0.0
        elif message.summary:
            self._reports.summarized(message.values)
        elif self._told(message.values, connection, message.heeds):
            return
        self._answer(connection, stop=self.stopped)

    def _told_all(self, found: list[dict[str, float]]) -> None:
        for values in found:
            self._told(values)

    def _told(
        self, values: Mapping[str, float], to: Connection | None = None, heeds: bool = False
    ) -> bool:
        """Note numbers; return whether they wait for the feed."""
        if self.stopped:
            return False
        try:
            return self._reports.told(values, to, heeds)
        except TooMuchError as error:
            self._error = self._error or str(error)
            self.stop()
            return False

    def _read_output(self, which: int) -> bool:
        """Read a stream on; return whether there may be more."""
        data = read_some((self._child.stdout, self._child.stderr)[which])
        if data:
            self._printed(which, self._outputs[which].write(data))
        return bool(data)

    def _printed(self, which: int, lines: list[str]) -> None:
        for line in lines if which == 0 and self._file is None and not self._used else ():
            found = self._reports.within(self._pairs.read(line))
            if self._metric in found:
                self._tell_held()
            if self._metric in found and self._channel.connections:
                self._held = [found, {}]
            elif self._held:
                self._held[1] |= found
            elif found:
                self._told(found)

    def _tell_held(self) -> None:
        held, self._held = self._held, []
        self._told_all(held)

    def _read_rest(self) -> None:
        """Read what the script left behind: in its pipes, its file, and as its summary."""
        for which in (0, 1):
            for _ in range(_READS_AT_END):
                if not self._read_output(which):
                    break
            self._printed(which, self._outputs[which].close())
        self._tell_held()
        if self._file is not None:
            while found := self._file.read():
                self._told_all(found)
            self._told_all(self._file.rest())
        if not self.stopped:
            self._reports.end()
            if self._metric == EXIT_CODE and self._child.code == 0:
                self._told({EXIT_CODE: 0.0})

    def _answer(self, connection: Connection, *, stop: bool) -> None:
        self._refused(connection.answer(stop=stop))

    def _refused(self, reasons: list[str]) -> None:
        for why in reasons[:1]:
            words = f"sweeps: a report of trial {self.trial.number} was refused: {why}\n"
            self._outputs[1].write(words.encode(errors="replace"))
