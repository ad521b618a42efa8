"""`report`: a script tells its sweep how it does, and hears whether to stop.

    from sweeps import report

    for epoch in range(1, 31):
        ...
        if report(step=epoch, val_loss=loss):
            break

Each call is one line of JSON over the Unix socket that the environment variable SWEEPS_REPORT
names, and one line back. Without it no sweep is running, and `report` does nothing. This module
needs the standard library alone, of any Python from 3.8: the hook of W&B scripts loads it by its
path, where Sweeplane may not be installed.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import SocketIO

ADDRESS = "SWEEPS_REPORT"
"""The environment variable with the path of the socket."""


def report(
    metrics: Mapping[str, Any] | None = None, *, step: float | None = None, **more: Any
) -> bool:
    """Report numbers of a running trial; return whether it should stop.

    `metrics` is for names that are no Python names: `report({"valid/loss": loss})`. A call with the
    sweep's metric is one value of the trial's curve, and the answer is the sweep's decision on it.
    `step` is kept beside it. Without a sweep the answer is False. A script that is to stop may
    finish what it must, within seconds; then it is ended.

    Raises:
        TypeError: a value is not a number.
        ValueError: the sweep refuses the values; the message says why.
    """
    values = {**(metrics or {}), **more}
    if step is not None:
        values["step"] = step
    numbers = {str(name): _number(name, value) for name, value in values.items()}
    return _line.tell({"values": numbers, "heeds": True})


def _number(name: Any, value: Any) -> float:
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"report: '{name}' is {value!r:.80}; give a number")


class Line:
    """This process's connection to its sweep, if there is one."""

    def __init__(self) -> None:
        self._stream: SocketIO | None = None
        self._renew()
        os.register_at_fork(after_in_child=self._renew)  # what is the parent's stays the parent's

    def tell(self, message: Mapping[str, Any]) -> bool:
        """Send a message; return whether the trial should stop.

        Raises:
            ValueError: the sweep refuses the message.
        """
        with self._lock:
            if self._stream is None:
                return False
            try:
                self._stream.write(json.dumps(message).encode() + b"\n")
                answer = json.loads(self._stream.readline() or b"{}")
            except (OSError, ValueError):  # the sweep is gone, and ends this process if it must
                return False
        if "error" in answer:
            raise ValueError(f"report: {answer['error']}")
        return bool(answer.get("stop"))

    def _renew(self) -> None:
        """Connect. To be connected says already that the script reports by itself."""
        self._lock = threading.Lock()
        self._stream = None
        address = os.environ.get(ADDRESS)
        if not address:
            return
        import socket

        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
                self._stream = connection.makefile("rwb", buffering=0)
        except OSError:
            pass


_line = Line()
