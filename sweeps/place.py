"""The place of one of `sweeps run`'s processes: started, and started again when it dies."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from typing import IO

from studies import SweeplaneError, UserError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SETTLED_SECONDS = 60.0  # a worker that lived so long begins its deaths anew
MOST_DEATHS = 5
WARNING = "Warning: "  # before a line of a worker's standard error


class Place:
    """One of the processes; after a death it is started again, after a pause that grows."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name, self._command, self._environment = name, command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._deaths, self._next, self._started = 0, 0.0, 0.0
        self.over = False
        self.error: SweeplaneError | None = None
        self.said = ""  # of its last death
        self.warnings: list[str] = []

    def tend(self, *, drain: bool) -> None:
        """Start it if it should run, and see whether it has ended."""
        now = time.monotonic()
        if self.over:
            return
        if self._process is None:
            self.over = drain
            if not drain and now >= self._next:
                self._start()
        elif (code := self._process.poll()) is not None:
            self._ended(code, now, drain=drain)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _start(self) -> None:
        self._started = time.monotonic()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            process_group=0,  # Ctrl-C in a terminal reaches this process alone
        )

    def _ended(self, code: int, now: float, *, drain: bool) -> None:
        said = self._last_words()
        self._process = None
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

    def _last_words(self) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._log is not None
        self._process.stdin.close()
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        self._log.close()
        lines = text.splitlines()
        self.warnings = [line.removeprefix(WARNING) for line in lines if line.startswith(WARNING)]
        start = f"\n{text}".rfind("\nError: ")
        return text[start:] if start >= 0 else text.rpartition("\n")[2][:300]
