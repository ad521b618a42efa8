"""Finding an entry of a registry by its name, and the name that a misspelled one is nearest to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

Entry = TypeVar("Entry")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` misspells, None where none is near; case and - or _ are one.

    Of those that difflib calls near: the one with the fewest edits. Of several, one as long (a
    letter is mistaken more often than left out: 'adamv' is adamw rather than adam), then the first.
    """
    wanted = _folded(name)
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_folded(candidate), candidate)
    near = set(get_close_matches(wanted, folded, n=len(folded) or 1))
    best = min(
        (candidate for candidate in folded if candidate in near),
        key=lambda candidate: (_edits(wanted, candidate), abs(len(wanted) - len(candidate))),
        default=None,
    )
    return None if best is None else folded[best]


def lookup(registry: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """The entry called `name`; `kind` ("optimizer", "schedule") is for the message.

    Raises:
        ValueError: there is none; the message gives the nearest name and all known ones.
    """
    if name in registry:
        return registry[name]
    near = closest(name, registry)
    hint = f"; did you mean '{near}'?" if near else "."
    raise ValueError(f"{kind} '{name}' is unknown{hint} Known: {', '.join(sorted(registry))}")


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _edits(one: str, other: str) -> int:
    """Letters to put in, leave out or replace until one is the other (Levenshtein's distance)."""
    row = list(range(len(other) + 1))
    for count, letter in enumerate(one, 1):
        above, row = row, [count]
        for place, each in enumerate(other):
            changed = above[place] + (letter != each)
            row.append(min(changed, above[place + 1] + 1, row[place] + 1))
    return row[-1]
