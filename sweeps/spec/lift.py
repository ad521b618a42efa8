"""Entries of `parameters` that mean a top-level key: the choices, epochs and batch_size.

They are moved there before anything else reads the file; a searched number of epochs (or batch
size) stays, since it is a dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.spec.build_space import SWEEP_KNOBS
from sweeps.spec.faults import Faults

CHOICES = ("optimizer", "schedule", "average")


def lift_parameters(data: dict[str, Any], faults: Faults) -> None:
    """Move what means a top-level key from `data["parameters"]` to `data`; note what is twice."""
    parameters = data.get("parameters")
    if not isinstance(parameters, Mapping):
        return
    rest = dict(parameters)
    for name in (*CHOICES, *SWEEP_KNOBS):
        if name not in rest:
            continue
        if name in data:
            line = faults.line((name,))
            text = f"{name} is given twice: at the top level (line {line}) and as parameters.{name}"
            faults.add(("parameters", name), f"{text}; keep one")
            del rest[name]
        elif name in CHOICES:
            _lift_choice(name, rest.pop(name), data, faults)
        elif isinstance(rest[name], list):
            rest[name] = {"values": rest[name]}
        elif not isinstance(rest[name], Mapping) or rest[name].keys() == {"value"}:
            _lift(name, _value(rest.pop(name)), data, faults)
    data["parameters"] = rest


def _lift_choice(name: str, raw: Any, data: dict[str, Any], faults: Faults) -> None:
    shape = set(raw) - {"distribution"} if isinstance(raw, Mapping) else {"value"}
    if shape in ({"value"}, {"values"}):
        _lift(name, _value(raw), data, faults)
    else:
        text = f"parameters.{name} takes a name, a list of names or {{values: [...]}}"
        faults.add(("parameters", name), text)


def _lift(name: str, value: Any, data: dict[str, Any], faults: Faults) -> None:
    data[name] = value
    faults.move(("parameters", name), (name,))


def _value(raw: Any) -> Any:
    return raw.get("values", raw.get("value")) if isinstance(raw, Mapping) else raw
