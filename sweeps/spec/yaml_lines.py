"""YAML 1.2 with line numbers: plain Python data, and the line on which each of its nodes stands.

Scalars are the core schema's: `1e-5` is a number, `012` is twelve; `yes`, `on`, `1_000` and `0b11`
are text. A key twice in one mapping, a key that
is not text, a tag that names a type (`!!python/...`, `!foo`) and an alias inside itself are errors.
Anchors, aliases and merge keys (`<<: *base`) work as in YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_REAL = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


@dataclass(frozen=True)
class Document:
    """What a YAML text holds: `data`, the line of every node by its path, and its errors.

    `errors` are (line or None, message); `data` is None after a syntax error and in an empty text.
    `unread` are the nodes that an error kept from being read; they are None in `data`. A mapping
    entry's line is its key's.
    """

    data: Any = None
    lines: Mapping[Path, int] = field(default_factory=dict)
    errors: tuple[tuple[int | None, str], ...] = ()
    unread: frozenset[Path] = frozenset()

    def line(self, path: Path) -> int | None:
        """Return the line of `path`, or of what encloses it where it has none (a missing key)."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_yaml(text: str) -> Document:
    """Return the only document in `text`, with all errors that it has."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        problem = " ".join(filter(None, (error.context, error.problem)))
        return Document(errors=((line, f"this is not YAML: {problem}"),))
    except YAMLError as error:
        return Document(errors=((None, f"this is not YAML: {str(error).splitlines()[0]}"),))
    except ValueError as error:
        return Document(errors=((None, f"this is not YAML: {error}"),))
    if root is None:
        return Document()
    return document_of(root, _scalar)


def document_of(root: Node, scalar: Callable[[Node], Any]) -> Document:
    """Return what the composed nodes hold; `scalar` gives the value of a plain one.

    It raises `ValueError` for a text that its tag does not fit.
    """
    reader = _Reader(scalar)
    data = reader.read(root, (), frozenset())
    return Document(data, reader.lines, tuple(reader.errors), frozenset(reader.unread))


class _Reader:
    """Turns composed nodes into data, noting lines and errors."""

    def __init__(self, scalar: Callable[[Node], Any]) -> None:
        self._scalar = scalar
        self.lines: dict[Path, int] = {}
        self.errors: list[tuple[int | None, str]] = []
        self.unread: set[Path] = set()

    def read(self, node: Node, path: Path, above: frozenset[int]) -> Any:
        """Return the data of `node`; `above` holds the ids of the nodes that enclose it."""
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if id(node) in above:
            self.errors.append((line, "an alias stands inside what it names"))
            self.unread.add(path)
            return None
        tag = node.tag or ""
        kind = tag.removeprefix(_TAG)
        if kind == "map":
            return self._mapping(node, path, above | {id(node)})
        if kind == "seq":
            inner = above | {id(node)}
            return [self.read(item, (*path, i), inner) for i, item in enumerate(node.value)]
        if kind in ("str", "int", "float", "bool", "null", "timestamp"):
            try:
                return self._scalar(node)
            except ValueError:
                self.errors.append((line, f"{node.value!r} is no !!{kind}"))
        else:
            text = f"the tag {tag.replace(_TAG, '!!')} is not allowed: write plain values"
            self.errors.append((line, text))
        self.unread.add(path)
        return None

    def _mapping(self, node: Node, path: Path, above: frozenset[int]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if key_node.tag == _TAG + "merge":
                merged |= self._merged(value_node, path, above)
            elif key_node.tag != _TAG + "str":
                self.errors.append((line, f"the key {key!r} is not text; put it in quotes"))
            elif key in own:
                first = self.lines[(*path, key)]
                self.errors.append((line, f"the key '{key}' is there twice: first in line {first}"))
            else:
                self.lines[(*path, key)] = line
                own[key] = self.read(value_node, (*path, key), above)
        return merged | own

    def _merged(self, node: Node, path: Path, above: frozenset[int]) -> dict[str, Any]:
        """Return the entries that a merge key brings; of several mappings the earlier one wins."""
        parts = node.value if node.tag == _TAG + "seq" else [node]
        merged: dict[str, Any] = {}
        for part in parts:
            if part.tag != _TAG + "map" or id(part) in above:
                line = part.start_mark.line + 1
                self.errors.append((line, "'<<' takes a mapping or a list of mappings"))
            else:
                inner = _Reader(self._scalar)
                merged = inner.read(part, path, above) | merged
                self.errors += inner.errors
                self.unread |= inner.unread
                self.lines = dict(inner.lines) | self.lines
        return merged


def _scalar(node: Node) -> Any:
    kind, text = (node.tag or "").removeprefix(_TAG), node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and _WHOLE.fullmatch(text):
        return _whole(text)
    if kind == "float" and _REAL.fullmatch(text):
        return float(text.replace(".", "", 1) if text[-1] in "fFnN" else text)
    return text


def _whole(text: str) -> int | str:
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    try:
        return int(text, base)
    except ValueError:  # thousands of digits
        return text
