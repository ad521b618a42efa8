"""`Child`: the processes of one trial, started under a guardian that ends them together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 5.0
"""From SIGTERM to SIGKILL at most; a worker with a short grace period of its own gives less."""
GUARDIAN = Path(__file__).with_name("guardian.py")
_READ_BYTES = 64 * 1024


class Child:
    """A script that runs in `directory`; `tidy` is a socket to remove at its end.

    `stdout` and `stderr` are descriptors to read from, without blocking; `status` is one to watch:
    after a reading (`look`) the script may be `over`. When this process dies, so
    does the script with all that it has started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        tidy: Path | None = None,
        grace_seconds: float,
    ) -> None:
        self.over = False
        self.code: int | None = None
        self.failed: str | None = None
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        self.status, status = _pipe()
        self._said = b""
        order = {
            "argv": list(argv),
            "directory": str(directory),
            "environment": dict(environment),
            "grace": grace_seconds,
            "tidy": [] if tidy is None else [str(tidy)],
            "status": status,
        }
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARDIAN)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env={},
                pass_fds=(status,),
                start_new_session=True,
                bufsize=0,
            )
        finally:
            for descriptor in (out, err, status):
                os.close(descriptor)
        self._tell(json.dumps(order).encode() + b"\n")

    def stop(self) -> None:
        """Ask the script to end, by SIGTERM; after the grace it is killed. Once is enough."""
        self._tell(b"stop\n")

    def kill(self) -> None:
        """Kill all of it now, and wait until nothing is left."""
        if self._guardian.stdin is not None:
            self._guardian.stdin.close()
        self._guardian.wait()
        self._close()

    def look(self) -> bool:
        """Read what the guardian says; at the end of it return True.

        Then the script is `over`, with `code` or `failed`.
        """
        data = read_some(self.status)
        if data is None:
            return False
        self._said += data
        if data:
            return False
        for line in self._said.splitlines():
            found = json.loads(line)
            self.code, self.failed = found.get("code", self.code), found.get("failed")
        if self.code is None and self.failed is None:
            self.failed = "its guardian was killed, and the script with it"
        self.over = True
        return True

    def _tell(self, words: bytes) -> None:
        if self._guardian.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended, which `look` sees
                self._guardian.stdin.write(words)

    def _close(self) -> None:
        for descriptor in (self.stdout, self.stderr, self.status):
            if descriptor >= 0:
                os.close(descriptor)
        self.stdout = self.stderr = self.status = -1

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _pipe() -> tuple[int, int]:
    """Return a pipe whose reading end does not block."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, writing


def read_some(descriptor: int) -> bytes | None:
    """Return what there is to read, empty at the end; None: nothing for now."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return None


def how_it_ended(code: int) -> str:
    """Return an exit code or a signal in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
