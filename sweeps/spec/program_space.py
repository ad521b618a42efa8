"""`parameters` of a program file -> the space, and known configurations of it.

Names are passed on and mean nothing here. `baseline` and `enqueue` give every searched parameter,
nested as in `parameters` or with dots (`optimizer.lr`); constants are filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweeps.config import ScriptConfig
from sweeps.space.distributions import Categorical
from sweeps.space.quantiles import Weighted
from sweeps.space.script import SCRIPT, ScriptKnob, ScriptSpace, script_config
from sweeps.space.space import Owner
from sweeps.spec.distributions import read_distribution
from sweeps.spec.faults import Faults, dotted, nearest, shown
from sweeps.spec.program_keys import storable
from sweeps.spec.yaml_lines import Path

_LONGEST_NAME = 400  # characters: the study DB's names have 512
_LARGEST_GRID = 1_000_000


def read_script_space(raw: Any, faults: Faults, *, grid: bool) -> ScriptSpace:
    """Return the space of what is right in `parameters`, noting what is wrong."""
    place = ("parameters",)
    if raw is None and not faults.unread(place):
        faults.add((), "parameters is missing: what the script takes, and what each may be")
    elif raw is not None and (not isinstance(raw, Mapping) or not raw):
        faults.add(place, "parameters must be a mapping of names to what they may be")
    found = _read(raw, place, (), faults) if isinstance(raw, Mapping) else ()
    space = ScriptSpace(tuple(_as_grid(knob) if grid else knob for knob in found))
    _check_keys(space, faults)
    if grid:
        _check_grid(space, faults)
    return space


def _read(
    raw: Mapping[str, Any], place: Path, above: tuple[str, ...], faults: Faults
) -> Iterator[ScriptKnob]:
    for name, value in raw.items():
        here, path = (*place, name), (*above, name)
        if not name or not all(map(storable, path)) or len(".".join(path)) > _LONGEST_NAME:
            text = f"{dotted(place)} has the name {shown(name)}; give text without NUL"
            faults.add(here, f"{text}, {_LONGEST_NAME} characters at most with what is above it")
        elif isinstance(value, Mapping) and "parameters" in value:
            inner = value["parameters"]
            if len(value) > 1 or not isinstance(inner, Mapping) or not inner:
                faults.add(here, f"{dotted(here)} takes one key, parameters, with a mapping")
            else:
                yield from _read(inner, (*here, "parameters"), path, faults)
        elif not _all_storable(value):
            faults.add(here, f"{dotted(here)} has text with NUL or half a character in it")
        else:
            distribution = read_distribution(value, here, faults)
            if distribution is not None:
                name = ".".join(path)
                yield ScriptKnob(name, Owner(SCRIPT), distribution, "yours", path=path)


def _as_grid(knob: ScriptKnob) -> ScriptKnob:
    """A grid runs through values whatever their probabilities."""
    if not isinstance(knob.distribution, Weighted):
        return knob
    return ScriptKnob(
        knob.name, knob.owner, Categorical(knob.distribution.values), "yours", path=knob.path
    )


def _all_storable(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_all_storable(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return all(map(_all_storable, value))
    return not isinstance(value, str) or storable(value)


def _check_keys(space: ScriptSpace, faults: Faults) -> None:
    """Note two parameters that would be one in the study DB and in tables."""
    seen: dict[str, ScriptKnob] = {}
    for knob in space.knobs:
        for key in {knob.name, knob.key}:
            other = seen.setdefault(key, knob)
            if other is not knob:
                place = _place(knob.path)
                text = f"{dotted(place)} and {dotted(_place(other.path))} are both {shown(key)}"
                faults.add(place, f"{text} in the study DB; rename one")


def _check_grid(space: ScriptSpace, faults: Faults) -> None:
    size = space.size()
    if size is not None and size > _LARGEST_GRID:
        text = f"the grid has {size:,} points; give fewer values ({_LARGEST_GRID:,} at most)"
        faults.add(("parameters",), text)
    for knob in space.knobs:
        if knob.distribution.grid() is None:
            place, kind = _place(knob.path), knob.distribution.describe()
            text = f"{dotted(place)} is {kind}, which a grid cannot run through"
            remedy = "give values, int_uniform or q_uniform, or another method"
            faults.add(place, f"{text}; {remedy}")


def _place(path: tuple[str, ...]) -> Path:
    """Return where a parameter stands in the file."""
    place: Path = ("parameters", path[0])
    for name in path[1:]:
        place = (*place, "parameters", name)
    return place


def check_script_entry(entry: Any, place: Path, space: ScriptSpace, faults: Faults) -> None:
    """Note every name in an entry of `baseline` or `enqueue` that is not there, or is missing."""
    if not isinstance(entry, Mapping):
        return
    found, strange = _values(entry, space)
    labels = [knob.label for knob in space.knobs]
    for path in strange:
        name = ".".join(path)
        text = f"{dotted(place)}: the script has no parameter {shown(name)}"
        near = nearest(name, labels) or "."
        faults.add((*place, *path), f"{text}{near} It has: {', '.join(map(shown, labels))}")
    missing = [k.label for k in space.knobs if k.searched and k.path not in found]
    if missing:
        text = f"{dotted(place)} gives no value to {', '.join(map(shown, missing))}"
        faults.add(place, f"{text}; a script's parameters have no published defaults")
    for path, value in found.items():
        if not _all_storable(value):
            faults.add((*place, *path), f"{dotted((*place, *path))} has text with NUL in it")


def known_script_config(entry: Mapping[str, Any], space: ScriptSpace) -> ScriptConfig:
    """Return the parameters that a checked entry means."""
    fixed = {k.path: k.distribution.first() for k in space.knobs if not k.searched}
    return script_config(fixed | _values(entry, space)[0])


def _values(
    entry: Mapping[str, Any], space: ScriptSpace
) -> tuple[dict[tuple[str, ...], Any], list[tuple[str, ...]]]:
    """Return the values by path, and the paths that are no parameter's."""
    paths = {knob.path for knob in space.knobs}
    by_label = {knob.label: knob.path for knob in space.knobs}
    above = {path[:length] for path in paths for length in range(1, len(path))}
    found: dict[tuple[str, ...], Any] = {}
    strange: list[tuple[str, ...]] = []

    def walk(inner: Mapping[str, Any], prefix: tuple[str, ...]) -> None:
        for name, value in inner.items():
            path = (*prefix, name)
            if path in paths:
                found[path] = value
            elif path in above and isinstance(value, Mapping):
                walk(value, path)
            elif ".".join(path) in by_label:
                found[by_label[".".join(path)]] = value
            else:
                strange.append(path)

    walk(entry, ())
    return found, strange
