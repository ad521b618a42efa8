"""The process between a worker and a trial's script: it ends all that the script has started.

It runs as a file of its own (`python -I -S guardian.py`), with the standard library alone. A line
of JSON on its standard input says what to start; `stop` on it asks the script to end by SIGTERM,
and after the grace by SIGKILL. The end of that input means that the worker is gone, by SIGKILL too:
then all is killed at once. What became of the script goes to the descriptor `status`, as a line of
JSON; the end of that one means that none of its processes is left.

A session of its own is the script's process group. As a subreaper (Linux) the guardian inherits
processes that have left it, too, and kills them; if the guardian itself is killed, so is the script
(PR_SET_PDEATHSIG, which is safe here: one thread, which stays).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # of prctl
_LINUX = sys.platform.startswith("linux")
_MOST_SECONDS = 5.0  # for killed processes to be gone
_LOOK_SECONDS = 0.01


class Guardian:
    """Starts one script, and sees to it that nothing of it is left."""

    def __init__(self) -> None:
        self._buffer = b""
        order = json.loads(self._first_line())
        self._grace, self._tidy = float(order["grace"]), order["tidy"]
        self._status: int = order["status"]
        self._argv: list[str] = order["argv"]
        self._directory: str = order["directory"]
        self._environment: dict[str, str] = order["environment"]
        self._script = 0
        self._ended = False

    def run(self) -> None:
        """Start the script, wait for its end or for the worker's, and end what is left."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if _LINUX else os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        libc = ctypes.CDLL(None) if _LINUX else None
        if libc is not None:
            libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            process = subprocess.Popen(
                self._argv,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=None if libc is None else lambda: libc.prctl(_PDEATHSIG, 9, 0, 0, 0),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._say({"failed": f"{type(error).__name__}: {error}"})
            return
        self._script = process.pid
        self._wait(woken)
        self._end_all()

    def tidy(self) -> None:
        """Remove what is of no use without the script: its socket, and the folder of that."""
        for path in self._tidy:
            with suppress(OSError):
                os.unlink(path)
                os.rmdir(os.path.dirname(path))

    def _wait(self, woken: int) -> None:
        deadline = None
        self._reap()
        while not self._ended:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            ready, _, _ = select.select([0, woken], [], [], left)
            if woken in ready:
                os.read(woken, 4096)
            self._reap()
            if 0 in ready and not self._ended:
                if not os.read(0, 4096):
                    return
                if deadline is None:
                    deadline = time.monotonic() + self._grace
                    self._signal_group(signal.SIGTERM)
            if deadline is not None and time.monotonic() >= deadline:
                return

    def _end_all(self) -> None:
        """Kill all processes that the script has started, and itself if it is still there."""
        deadline = time.monotonic() + _MOST_SECONDS
        while time.monotonic() < deadline:
            if not self._ended:
                self._signal_group(signal.SIGKILL)
            for process in _descendants(os.getpid()):
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            if not self._reap():
                return
            time.sleep(_LOOK_SECONDS)

    def _signal_group(self, number: int) -> None:
        with suppress(OSError):
            os.killpg(self._script, number)

    def _reap(self) -> bool:
        """Take note of processes that have ended; return whether there are others."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if process == 0:
                return True
            if process == self._script:
                self._ended = True
                self._say({"code": os.waitstatus_to_exitcode(status)})

    def _say(self, what: dict[str, Any]) -> None:
        with suppress(OSError):  # the worker is gone
            os.write(self._status, json.dumps(what).encode() + b"\n")

    def _first_line(self) -> bytes:
        while b"\n" not in self._buffer:
            data = os.read(0, 65536)
            if not data:
                os._exit(1)
            self._buffer += data
        return self._buffer


def _descendants(root: int) -> list[int]:
    """Return the processes below `root`, as /proc knows them; none where there is no /proc."""
    parents = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):  # it has ended
                pass
    found, last = set[int](), {root}
    while last:
        last = {child for child, parent in parents.items() if parent in last} - found
        found |= last
    return sorted(found)


if __name__ == "__main__":
    guardian = Guardian()
    try:
        guardian.run()
    finally:
        guardian.tidy()
