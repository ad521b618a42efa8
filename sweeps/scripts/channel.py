"""The socket by which a script reports, and the connections to it.

A connection has one report at a time that waits for its answer; what comes beyond waits in the
kernel, which makes its sender wait. A report with a bad name or value is refused; what is no JSON,
or has no end, closes the connection that it came by.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.scripts.messages import LINE_BYTES, GarbageError, Message, RefusedError, from_client

MOST_CONNECTIONS = 64
"""Of one trial at once, whose processes they are; others wait until one of them is closed."""
_LONGEST_PATH = 100  # bytes of a Unix socket's address, less a few


class Connection:
    """A process that reports."""

    def __init__(self, own: socket.socket) -> None:
        self._socket = own
        self._socket.setblocking(False)
        self._buffer = b""
        self.waiting: Message | None = None
        self.open = True

    def fileno(self) -> int:
        """Return the descriptor to watch while nothing waits for an answer."""
        return self._socket.fileno()

    def read(self) -> list[str]:
        """Read on; afterwards a report may be `waiting`, or the connection may be closed.

        Returns why reports were refused.
        """
        try:
            data = self._socket.recv(LINE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.close()
            return []
        self._buffer += data
        return self._next()

    def answer(self, **said: Any) -> list[str]:
        """Answer the report that waits; the one behind it may wait then.

        Returns why reports behind it were refused.
        """
        self.waiting = None
        self._say(said)
        return self._next()

    def close(self) -> None:
        """End it."""
        self.open, self.waiting = False, None
        self._socket.close()

    def _next(self) -> list[str]:
        refused: list[str] = []
        while self.open and self.waiting is None:
            line, found, rest = self._buffer.partition(b"\n")
            try:
                if len(line) > LINE_BYTES:
                    raise GarbageError(f"a line is longer than {LINE_BYTES} bytes")
                if not found:
                    break
                self._buffer = rest
                self.waiting = from_client(line)
            except RefusedError as why:
                refused.append(str(why))
                self._say({"error": str(why)})
                if isinstance(why, GarbageError):
                    self.close()
        return refused

    def _say(self, what: Mapping[str, Any]) -> None:
        try:
            self._socket.send(json.dumps(what).encode() + b"\n")
        except OSError:  # it has gone, or sends without reading
            self.close()


class Channel:
    """A listening socket in a folder of its own that nobody else may enter."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="sweeps-")
        if len(folder.encode()) > _LONGEST_PATH:
            Path(folder).rmdir()
            folder = tempfile.mkdtemp(prefix="sweeps-", dir="/tmp")
        self.path = Path(folder) / "s"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        self._socket.bind(str(self.path))
        self._socket.listen(MOST_CONNECTIONS)
        self.connections: list[Connection] = []

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._socket.fileno()

    @property
    def full(self) -> bool:
        """Whether new connections have to wait."""
        self.connections = [each for each in self.connections if each.open]
        return len(self.connections) >= MOST_CONNECTIONS

    def accept(self) -> None:
        """Take new connections up."""
        while not self.full:
            try:
                found, _ = self._socket.accept()
            except OSError:
                return
            self.connections.append(Connection(found))

    def read(self, readable: Callable[[Connection], bool]) -> list[str]:
        """Read from connections; return why reports were refused."""
        refused = []
        for connection in self.connections:
            if connection.waiting is None and connection.open and readable(connection):
                refused += connection.read()
        return refused

    def close(self) -> None:
        """End all of it, the socket's file too."""
        for connection in self.connections:
            connection.close()
        self._socket.close()
        with suppress(OSError):  # the script's guardian removes both, too
            self.path.unlink()
            self.path.parent.rmdir()
