"""Bounded waits for other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.02


def wait_for(condition: Callable[[], object], seconds: float = 200.0) -> None:
    """Wait until something is so; a test that waits in vain fails."""
    assert happens(condition, seconds), f"not within {seconds} s"


def happens(condition: Callable[[], object], seconds: float) -> bool:
    """Whether something is so within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_SECONDS)
    return True
