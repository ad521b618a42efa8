"""What a script writes to stdout and stderr: kept in a file of bounded size, its end at hand."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from studies.secrets import mask_passwords
from sweeps.scripts.messages import LINE_BYTES

OUTPUTS = ("stdout.log", "stderr.log")
"""The files of a trial's folder."""
HEAD_BYTES = 8 * 1024 * 1024
"""How much of the beginning is kept."""
TAIL_BYTES = 64 * 1024
"""How much of the end is kept, where the beginning was not all."""


class Output:
    """One stream of a script, written to `path` line by line; passwords in URLs are masked.

    A disk that is full costs the log, not the trial.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(path, flags, 0o600)
        self._part = b""
        self._written = self._cut = self._held = 0
        self._tail = deque[bytes]()

    def write(self, data: bytes) -> list[str]:
        """Keep more of the stream; return the lines that have come to their end.

        A line longer than `LINE_BYTES` comes in several.
        """
        *ended, self._part = (self._part + data).split(b"\n")
        lines = [self._keep(line + b"\n") for line in ended]
        while len(self._part) > LINE_BYTES:
            lines.append(self._keep(self._part[:LINE_BYTES]))
            self._part = self._part[LINE_BYTES:]
        return lines

    def close(self) -> list[str]:
        """End the file; return the last line if it has no end of its own."""
        lines = [self._keep(self._part)] if self._part else []
        self._part = b""
        if self._cut:
            kept = b"".join(self._tail)
            left_out = self._cut - len(kept)
            self._append(f"\n[... {left_out} bytes are left out here ...]\n".encode() + kept)
            self._cut = 0
        if self._file is not None:
            os.close(self._file)
            self._file = None
        return lines

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that are not empty."""
        lines = b"".join(self._tail).decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]

    def _keep(self, line: bytes) -> str:
        text = line.decode(errors="replace")
        masked = mask_passwords(text).encode()
        if self._cut == 0 and self._written + len(masked) <= HEAD_BYTES:
            self._append(masked)
            self._written += len(masked)
        else:
            if self._cut == 0:
                self._tail.clear()  # it is in the file already
                self._held = 0
            self._cut += len(masked)
        self._tail.append(masked)
        self._held += len(masked)
        while self._held > TAIL_BYTES and len(self._tail) > 1:
            self._held -= len(self._tail.popleft())
        return text.rstrip("\n")

    def _append(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            os.write(self._file, data)
        except OSError:
            os.close(self._file)
            self._file = None
