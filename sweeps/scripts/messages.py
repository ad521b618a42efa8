"""What a script says about itself: lines of JSON, or text with `name=value` in it.

Whatever a line holds, reading it ends in numbers by name or in a `RefusedError` with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LINE_BYTES = 64 * 1024
"""The longest line that is read."""
NAME_LENGTH = 200
_NUMBER = r"([-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)))(?![\w%]|[.,]\d)"
_NAME = r"[A-Za-z_][\w./-]*"


class RefusedError(Exception):
    """A line that says nothing that could be kept; the text says why."""


class GarbageError(RefusedError):
    """A line that is no JSON: what comes behind it is not believed either."""


@dataclass(frozen=True)
class Message:
    """A line of a client. `heeds`: it does what the answer says. `summary`: see `from_client`."""

    values: Mapping[str, float]
    heeds: bool = False
    summary: bool = False


def from_client(line: bytes) -> Message:
    """Read `{"values": {name: number}, "heeds": true, "summary": false}`.

    A `summary` is the last word on a metric, which W&B's scripts may say beside its curve.

    Raises:
        RefusedError: it is not that; `GarbageError`: it is not JSON.
    """
    found = _mapping(line)
    values = found.get("values")
    if not isinstance(values, dict):
        raise RefusedError('a report is {"values": {"name": number}}')
    wrong = [name for name, value in values.items() if not _is_number(value)]
    if wrong:
        raise RefusedError(f"{wrong[0]!r:.80} is not a number")
    numbers = {_named(name): _as_float(value) for name, value in values.items()}
    return Message(numbers, found.get("heeds") is True, found.get("summary") is True)


def from_json(line: bytes) -> dict[str, float]:
    """Return the numbers of a line of a metrics file, `{"step": 3, "val_loss": 0.5}`.

    Raises:
        RefusedError: it is not an object of JSON.
    """
    found = _mapping(line)
    return {
        name: _as_float(value)
        for name, value in found.items()
        if _is_number(value) and _is_name(name)
    }


class Pairs:
    """Finds `name=value` in lines of text; of `metric` also `name: value`, as many scripts write.

    The metric's name may have any characters, spaces too.
    """

    def __init__(self, metric: str) -> None:
        name = rf"(?:({re.escape(metric)})\s*[=:]|({_NAME})\s*=)"
        self._pattern = re.compile(rf"(?<![\w./-]){name}\s*{_NUMBER}")

    def read(self, line: str) -> dict[str, float]:
        """Return the numbers of a line, of what a terminal would show of it."""
        shown = line.rstrip("\r").rpartition("\r")[2]
        found = self._pattern.findall(shown) if "=" in shown or ":" in shown else []
        named = {own or other: float(value) for own, other, value in found}
        return {name: value for name, value in named.items() if _is_name(name)}


def _mapping(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise GarbageError("it is not JSON") from None
    if not isinstance(found, dict):
        raise RefusedError("it is not an object of JSON")
    return found


def _named(name: str) -> str:
    if not _is_name(name):
        raise RefusedError(
            f"the name {name!r:.80} is not one of 1 to {NAME_LENGTH} printable characters"
        )
    return name


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_LENGTH and name.isprintable()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise RefusedError("a number is too large") from None
