"""Something done again and again while something else runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(call: Callable[[], bool], seconds: float, name: str) -> Iterator[None]:
    """Call `call` every `seconds` on a thread while the body runs, until it returns False."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(seconds) and call():
            pass

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
