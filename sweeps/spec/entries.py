"""The entries of `parameters`: bare ones, and those nested under a chosen thing's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optimizers import ALGORITHMS, AVERAGES, SCHEDULES
from sweeps.space.distributions import Categorical, Distribution
from sweeps.space.quantiles import Weighted
from sweeps.spec.distributions import read_distribution
from sweeps.spec.faults import Faults, dotted
from sweeps.spec.yaml_lines import Path

ALIASES: Mapping[str, str] = {"learning_rate": "lr"}


@dataclass
class Entry:
    """One entry of `parameters`: what it says (None: it is wrong), where, and whether it counts."""

    distribution: Distribution | None
    path: Path
    used: bool = False


@dataclass
class Entries:
    """All entries of `parameters`: bare ones under scope None, nested ones under their owner."""

    of: dict[tuple[str | None, str], Entry] = field(default_factory=dict)

    def take(self, scope: str, name: str, *, bare: bool = True) -> Entry | None:
        """Return the entry for one owner's knob, the nested one first, and mark it as used."""
        own = self.of.get((scope, name))
        general = self.of.get((None, name)) if bare else None
        for entry in filter(None, (own, general)):
            entry.used = True
        return own or general


def read_entries(raw: Any, faults: Faults, *, grid: bool = False) -> Entries:
    """Read every entry of `parameters`, noting what is wrong in it.

    A `grid` runs through `values` whatever their probabilities.
    """
    entries = Entries()
    if isinstance(raw, Mapping):
        _read_scope(raw, None, ("parameters",), entries, faults)
    elif raw is not None:
        faults.add(("parameters",), "parameters must be a mapping of names to what they may be")
    if grid:
        for entry in entries.of.values():
            if isinstance(entry.distribution, Weighted):
                entry.distribution = Categorical(entry.distribution.values)
    return entries


def same_knob(place: Path, first: Path, faults: Faults) -> None:
    """Note that two entries give one knob."""
    text = f"{dotted(place)} and {dotted(first)} (line {faults.line(first)}) are one knob"
    faults.add(place, f"{text}; keep one")


def instead_of(place: Path, other: Path, faults: Faults) -> None:
    """Note that the knob at `place` is given beside the one that it stands for."""
    text = f"{dotted(place)} stands in the place of {dotted(other)} (line {faults.line(other)})"
    faults.add(place, f"{text}; keep one")


def _read_scope(
    raw: Mapping[str, Any], scope: str | None, path: Path, entries: Entries, faults: Faults
) -> None:
    for name, value in raw.items():
        place = (*path, name)
        if isinstance(value, Mapping) and "parameters" in value:
            _read_nested(name, value, scope, place, entries, faults)
            continue
        entry = Entry(read_distribution(value, place, faults), place)
        knob = ALIASES.get(name, name)
        if (scope, knob) in entries.of:
            same_knob(place, entries.of[scope, knob].path, faults)
        else:
            entries.of[scope, knob] = entry


def _read_nested(
    name: str,
    value: Mapping[str, Any],
    scope: str | None,
    path: Path,
    entries: Entries,
    faults: Faults,
) -> None:
    inner = value["parameters"]
    known = any(name in registry for registry in (ALGORITHMS, SCHEDULES, AVERAGES))
    if scope is not None or not known:
        text = f"{dotted(path)} has parameters of its own, which only optimizers, schedules and"
        faults.add(path, f"{text} averages have")
    elif len(value) > 1 or not isinstance(inner, Mapping):
        faults.add(path, f"{dotted(path)} takes one key, parameters, with a mapping")
    else:
        entries.of[None, name] = Entry(None, path)
        _read_scope(inner, name, (*path, "parameters"), entries, faults)
