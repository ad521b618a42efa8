"""The grace period: a process that was told to end by a signal has ended when it is over.

0        nothing more is taken; whoever ends an epoch hands its trial back
1/2      the engine is cut: its trials go back to where their epoch began, and are handed back
4/5      no more checkpoints are written
19/20    whatever still runs: the trials are handed back as they stand, and the process exits
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Self

LEFT_EXIT_CODE = 130
AGAIN_SECONDS = 0.1  # between two cuts: the engine may be within a call of the feed


class Leaving:
    """Ends this process `grace` seconds after `begin`: `with Leaving(...) as leaving:`.

    `cut` is called again and again from the middle on, `give_up` once at the end, if the body has
    not ended until then; both on another thread.
    """

    def __init__(
        self, grace: float, cut: Callable[[], None], give_up: Callable[[], object]
    ) -> None:
        self._grace, self._cut, self._give_up = grace, cut, give_up
        self._told, self._over = threading.Event(), threading.Event()
        self._began = 0.0

    def begin(self) -> float:
        """Begin the grace period; return the moment until which checkpoints may be written.

        A signal handler may call this.
        """
        if not self._told.is_set():
            self._began = time.monotonic()
            self._told.set()
        return self._began + 0.8 * self._grace

    @property
    def overdue(self) -> bool:
        """Whether the engine had its time."""
        return self._told.is_set() and time.monotonic() >= self._began + 0.5 * self._grace

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="leaving", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._told.set()
        self._thread.join()

    def _watch(self) -> None:
        self._told.wait()
        if self._over.wait(0.5 * self._grace):
            return
        while time.monotonic() < self._began + 0.95 * self._grace:
            self._cut()
            if self._over.wait(AGAIN_SECONDS):
                return
        # A study DB that does not answer must not hold the process up.
        giving_up = threading.Thread(target=self._give_up, daemon=True)
        giving_up.start()
        giving_up.join(max(self._began + self._grace - time.monotonic(), 0.0))
        try:
            if sys.stdout.isatty():  # where the live table has hidden the cursor
                os.write(sys.stdout.fileno(), b"\x1b[?25h\n")
        finally:
            os._exit(LEFT_EXIT_CODE)
