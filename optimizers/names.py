"""Finding an entry of a registry by its name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

Entry = TypeVar("Entry")


def lookup(registry: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """The entry called `name`; `kind` ("optimizer", "schedule") is for the message.

    Raises:
        ValueError: there is none; the message gives the nearest name and all known ones.
    """
    if name in registry:
        return registry[name]
    # Among the near names one as long: a letter is mistaken more often than left out.
    near = sorted(get_close_matches(name, registry), key=lambda known: abs(len(known) - len(name)))
    hint = f"; did you mean '{near[0]}'?" if near else "."
    raise ValueError(f"{kind} '{name}' is unknown{hint} Known: {', '.join(sorted(registry))}")
