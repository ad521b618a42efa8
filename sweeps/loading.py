"""Imports without the garbage collector, which finds nothing in them.

Modules, functions and classes stay as long as the process does. Yet the collector looks through all
of them several times while they come, and once more at the interpreter's end: with torch, a third
of the time that the imports take, and most of the time that the end takes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import in the body; if modules came, what is there then is never looked through again.

    What is made later is collected as ever. So nothing but imports belongs into the body.
    """
    was_on, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if was_on:
            gc.enable()
