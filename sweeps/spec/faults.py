"""What is wrong with a sweep file: every fault with its line, in words.

A message says what was given, what is allowed and, for a misspelling, the nearest name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optimizers.names import closest
from studies import UserError, mask_passwords
from sweeps.printable import printable
from sweeps.spec.yaml_lines import Document, Path


@dataclass(frozen=True)
class Fault:
    """One mistake in a sweep file; `line` counts from 1, None where no line is to blame."""

    line: int | None
    message: str


class SpecError(UserError):
    """A sweep file that is refused; the message has one line a fault, in line order."""

    def __init__(self, path: str, faults: Iterable[Fault]) -> None:
        self.path = path
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))
        places = (f"{path}:{f.line}" if f.line else path for f in self.faults)
        lines = (f"{p}: {f.message}" for p, f in zip(places, self.faults, strict=True))
        super().__init__("\n".join(lines))


class Faults:
    """Collects the faults of one document; top-level keys `overridden` do not stand in it."""

    def __init__(self, document: Document, overridden: Iterable[str] = ()) -> None:
        self._document = document
        self._overridden = frozenset(overridden)
        self._found: dict[Fault, None] = {}
        self._moved: dict[Path, Path] = {}
        for line, message in document.errors:
            self._found[Fault(line, message)] = None

    def add(self, path: Path, message: str) -> None:
        """Note a fault of the node at `path`, unless it is the result of one that is noted."""
        if not self.unread(path):
            self._found[Fault(self.line(path), mask_passwords(message))] = None

    def unread(self, path: Path) -> bool:
        """Return whether the node at `path` could not be read, which is noted already."""
        return self._origin(path) in self._document.unread

    def line(self, path: Path) -> int | None:
        """Return the line on which the node at `path` stands, None if it came from elsewhere."""
        if path and path[0] in self._overridden:
            return None
        return self._document.line(self._origin(path))

    def move(self, old: Path, new: Path) -> None:
        """Let faults of `new` and below stand on the lines of `old` and below."""
        self._moved[new] = old

    def _origin(self, path: Path) -> Path:
        for length in range(len(path), 0, -1):
            if path[:length] in self._moved:
                return (*self._moved[path[:length]], *path[length:])
        return path

    @property
    def found(self) -> tuple[Fault, ...]:
        """What was found so far, in the order of finding."""
        return tuple(self._found)


def dotted(path: Path) -> str:
    """Return a path as people write it: `enqueue[0].lr`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return printable(text)


def nearest(name: Any, known: Iterable[str]) -> str:
    """Return `; did you mean 'adamw'?` for a misspelling of a known name, else nothing."""
    close = closest(name, known) if isinstance(name, str) else None
    return f"; did you mean '{close}'?" if close else ""


def unknown(what: str, name: Any, known: Iterable[str], later: Iterable[str] = ()) -> str:
    """Return the message for a name that is not among `known`; `later` are planned ones."""
    names = list(known)
    if name in tuple(later):
        return f"{what} {name} is not there yet in this version. There is: {', '.join(names)}"
    hint = nearest(name, names)
    return f"{what} {shown(name)} is unknown{hint or '.'} Known: {', '.join(names)}"


def shown(value: Any) -> str:
    """Return a value as a message shows it: text in quotes, no more than 60 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return printable(f"'{value}'" if len(value) <= 60 else f"'{value[:57]}...'")
    if isinstance(value, Mapping):
        return printable(f"a mapping ({', '.join(map(str, value)) or 'empty'})")
    if isinstance(value, list):
        text = json.dumps(value, default=str)
        return text if len(text) <= 60 else f"a list of {len(value)}"
    return json.dumps(value, default=str)
