"""The place of one of `sweeps run`'s processes: started, and started again when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL
from typing import IO, Protocol
from weakref import WeakSet

from studies import SweeplaneError, UserError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SETTLED_SECONDS = 60.0  # a worker that lived so long begins its deaths anew
MOST_DEATHS = 5
BEGIN = b"begin\n"
WARNING = "Warning: "  # before a line of a worker's standard error

_pipes: WeakSet[IO[bytes]] = WeakSet()  # to the processes' standard inputs


def _close_pipes() -> None:
    for pipe in list(_pipes):
        pipe.close()


# What this process forks (a user's factory may, with data loaders) would hold the pipes open, and
# the places' processes would not see that this one has ended.
os.register_at_fork(after_in_child=_close_pipes)


@dataclass
class _Running:
    """A process, its standard input, and its errors.

    A line on its standard input tells it to begin; the end of it, that this process has ended.
    """

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    told: bool = False

    def begin(self) -> None:
        """Let it begin, if that was not said before."""
        if self.told or self.process.stdin is None:
            return
        self.told = True
        with suppress(BrokenPipeError):  # it has ended, which `tend` sees
            self.process.stdin.write(BEGIN)

    def dismiss(self) -> None:
        """Let it drain, or end if it has not begun: it may not have been ready for a signal."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def last_words(self) -> str:
        """Return what a process that has ended wrote to standard error."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with self.log:
            self.log.seek(0)
            return self.log.read().decode(errors="replace").strip()


class Tended(Protocol):
    """What `Crew` sees of a worker's place: a process here, or a Ray actor somewhere."""

    over: bool  # it does not run any more, and will not
    error: SweeplaneError | None  # that ends the sweep
    said: str  # what happened to it last, for the live table
    warnings: list[str]

    def tend(self, *, drain: bool) -> None:
        """Start what should run, and see what has ended; called all the time."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""


class Place:
    """One of the processes; after a death it is started again, after a pause that grows."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], out: int = DEVNULL
    ) -> None:
        self.name, self._command, self._environment = name, command, environment
        self._out = out  # a file's descriptor, for its standard output
        self._running: _Running | None = None
        self._deaths, self._next, self._started = 0, 0.0, 0.0
        self.over = False
        self.error: SweeplaneError | None = None
        self.said = ""  # of its last death
        self.warnings: list[str] = []

    def start(self) -> None:
        """Start it ahead of time: it waits for the first `tend`."""
        self._running = self._start()

    @property
    def lives(self) -> bool:
        """Whether its process runs, and may begin."""
        return self._running is not None and self._running.process.poll() is None

    def tend(self, *, drain: bool) -> None:
        """Start it if it should run, let it begin, and see whether it has ended."""
        now = time.monotonic()
        if self.over:
            return
        if self._running is None:
            self.over = drain
            if not drain and now >= self._next:
                self._running = self._start()
                self._running.begin()
        elif (code := self._running.process.poll()) is not None:
            said = self._said(self._running.last_words())
            self._running = None
            self._ended(code, said, now, drain=drain)
        elif drain:
            self._running.dismiss()
        else:
            self._running.begin()

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._running is not None:
            self._running.process.kill()
            self._running.process.wait()
            self._running.last_words()
            self._running = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._running is not None and self._running.process.poll() is None:
            self._running.process.send_signal(number)

    def _start(self) -> _Running:
        self._started = time.monotonic()
        log = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
        process = subprocess.Popen(
            self._command,
            env=self._environment,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=log,
            process_group=0,  # Ctrl-C in a terminal reaches this process alone
        )
        if process.stdin is not None:
            _pipes.add(process.stdin)
        return _Running(process, log)

    def _ended(self, code: int, said: str, now: float, *, drain: bool) -> None:
        if code == 0 or drain:
            self.over = True
            return
        if code in (1, 2) and said.startswith("Error: "):  # a restart would end so too
            kind = UserError if code == UserError.exit_code else SweeplaneError
            self.error = kind(said.removeprefix("Error: "))
            self.over = True
            return
        self._deaths = 1 if now - self._started > SETTLED_SECONDS else self._deaths + 1
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        cause = f" ({said})" if said else ""
        if self._deaths >= MOST_DEATHS:
            self.error = SweeplaneError(
                f"{self.name} died {self._deaths} times in a row; the last time it {how}{cause}. "
                "Mend that and run the same command again: nothing that finished is lost"
            )
            self.over = True
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (self._deaths - 1), LONGEST_PAUSE_SECONDS)
        self._next = now + pause
        self.said = f"{self.name} {how}{cause}; it is started again in {pause:g} s"

    def _said(self, text: str) -> str:
        """Return why a process ended, of what it wrote; keep its warnings."""
        lines = text.splitlines()
        self.warnings = [line.removeprefix(WARNING) for line in lines if line.startswith(WARNING)]
        start = f"\n{text}".rfind("\nError: ")
        return text[start:] if start >= 0 else text.rpartition("\n")[2][:300]
