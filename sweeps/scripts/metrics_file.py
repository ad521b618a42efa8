"""The JSON-lines file that a script writes its metrics to, read while it grows."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sweeps.scripts.messages import LINE_BYTES, RefusedError, from_json

_READ_BYTES = 64 * 1024


class MetricsFile:
    """The file at `path`: one object of JSON a line. What an earlier trial left there is removed.

    A line that is none is passed over, for some loggers write a heading. A file that becomes
    shorter was begun anew, and is read from its start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._part = b""
        if path.is_file():
            path.unlink()

    def read(self) -> list[dict[str, float]]:
        """Return what whole lines have come, some of them where there are many."""
        data = self._some()
        *lines, self._part = (self._part + data).split(b"\n")
        if len(self._part) > LINE_BYTES:  # its rest, when it comes, is no JSON either
            self._part = b""
        found = []
        for line in lines:
            try:
                found.append(from_json(line))
            except RefusedError:
                continue
        return found

    def rest(self) -> list[dict[str, float]]:
        """Return the last line of a script that has ended, if it has no end of its own."""
        self._part += b"\n"
        return self.read()

    def _some(self) -> bytes:
        try:
            # Without waiting: the script may have made a pipe there, or anything.
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                return b""
            if about.st_size < self._at:
                self._at, self._part = 0, b""
            data = os.pread(file, _READ_BYTES, self._at)
            self._at += len(data)
            return data
        except OSError:
            return b""
        finally:
            os.close(file)
