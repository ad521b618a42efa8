"""Imports without the garbage collector, which finds nothing in them.

Modules, functions and classes stay as long as the process does. Yet the collector looks through all
of them several times while they come, and once more at the interpreter's end: with torch, a third
of the time that the imports take, and most of the time that the end takes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import in the body; what is there after it is never looked through again.

    What is made later is collected as ever. So nothing but imports belongs into the body.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
