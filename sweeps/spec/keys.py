"""The top level of a task file: which keys there are, and their values as a `SweepFile`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from optimizers import ALGORITHMS, AVERAGES, SCHEDULES
from sweeps.space.values import is_int
from sweeps.spec.entries import ALIASES
from sweeps.spec.faults import Faults, dotted, nearest, shown
from sweeps.spec.foreign import foreign
from sweeps.spec.models import SweepFile
from sweeps.spec.names import owned_names

Keys = TypeVar("Keys", bound=SweepFile)

_BESIDE = ("parameters", "run_cap")
"""Keys of the top level that `SweepFile` does not have: they become other things."""

PROGRAM_NAMES = ("program", "command")
"""The keys that make a sweep file a program file."""

_NOT_YET = (*PROGRAM_NAMES, "compare")


def top_level(data: Any, overrides: Mapping[str, Any], faults: Faults) -> dict[str, Any] | None:
    """Return the keys to read, or None where there is no point in reading on.

    A known key without a value is an absent one; an unknown one stays, to be named.
    """
    if data is None:
        if not faults.found:
            faults.add((), "the file is empty; `sweeps init` writes one to start from")
        return None
    if not isinstance(data, Mapping):
        faults.add((), f"a sweep file is a mapping of keys to values, not {shown(data)}")
        return None
    known = {*SweepFile.model_fields, *_BESIDE, *_NOT_YET}
    keys = {name: value for name, value in data.items() if value is not None or name not in known}
    keys |= overrides
    for name in PROGRAM_NAMES:
        if keys.pop(name, None) is not None:  # a file with one of them and no task is a program's
            line = faults.line(("task",))
            text = f"{name} and task (line {line}) are both given; a sweep file has one of them"
            faults.add((name,), text)
    if "task" not in keys and not faults.unread(("task",)):
        text = "task is missing: a built-in name, package.module:factory or file.py:factory"
        faults.add((), f"{text} (or program, for a script)")
    if "compare" in keys:
        faults.add(("compare",), "compare: fair races are not there yet in this version")
        del keys["compare"]
    return keys


def read_keys(
    data: Mapping[str, Any], path: Path, faults: Faults, *, any_metric: bool = False
) -> SweepFile | None:
    """Return the typed keys, with every fault that pydantic finds put into words.

    `any_metric`: what the metric may be called is the task's affair, or not known.
    """
    own = {name: value for name, value in data.items() if name != "parameters"}
    if not own.get("name"):
        own["name"] = path.stem
    refuse_objectives(own, faults)
    merge_cap(own, faults)
    own.setdefault("task", "missing")
    return validated(SweepFile, own, faults, any_metric=any_metric)


def validated(
    model: type[Keys], own: Mapping[str, Any], faults: Faults, *, any_metric: bool
) -> Keys | None:
    """Return the keys as the model has them, None with every fault noted where they do not fit.

    `any_metric`: the metric may have any name.
    """
    try:
        return model.model_validate(own, context={"any_metric": any_metric})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, faults)
        return None


def refuse_objectives(own: dict[str, Any], faults: Faults) -> None:
    """Note and take out a list of metrics."""
    if isinstance(own.get("metric"), list):
        text = "metric is a list; several objectives are not there yet in this version"
        faults.add(("metric",), f"{text}: give one {{name, goal}}")
        del own["metric"]


def merge_cap(own: dict[str, Any], faults: Faults) -> None:
    """Move `run_cap` to `budget.trials`, which it means."""
    if "run_cap" not in own:
        return
    cap = own.pop("run_cap")
    if not is_int(cap) or cap < 1:
        faults.add(("run_cap",), f"run_cap is {shown(cap)}; give a whole number of 1 or more")
        return
    budget = own.setdefault("budget", {})
    if not isinstance(budget, Mapping):
        return
    if budget.get("trials", cap) != cap:
        line = faults.line(("budget", "trials"))
        text = f"run_cap is {cap} and budget.trials (line {line}) is {budget['trials']}"
        faults.add(("run_cap",), f"{text}; they mean the same, keep one")
    own["budget"] = {"trials": cap, **budget}


_THINGS = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
}


def _note(detail: Any, faults: Faults) -> None:
    kind = detail["type"]
    path = detail["loc"]
    if kind == "words":
        faults.add(path, detail["msg"])
    elif kind == "extra_forbidden":
        faults.add(path, _unknown_key(path))
    else:
        thing = _THINGS.get(kind, detail["msg"])
        faults.add(path, f"{dotted(path)} is {shown(detail['input'])}; give {thing}")


def _unknown_key(path: tuple[str | int, ...]) -> str:
    model: Any = SweepFile
    for part in path[:-1]:
        model = model.model_fields[part].annotation
    known = [*model.model_fields, *(_BESIDE if len(path) == 1 else ())]
    name = str(path[-1])
    text = foreign(name)
    if text is None and len(path) == 1 and name in _knob_names():
        text = f"'{name}' is a knob, not a key of the top level; put it under parameters"
    if text is None:
        text = f"key '{dotted(path)}' is unknown{nearest(name, known) or '.'}"
        text += f" Known: {', '.join(known)}"
    return text


def _knob_names() -> set[str]:
    owners = (*ALGORITHMS, *SCHEDULES, *AVERAGES)
    return {*ALIASES, *(knob for which in owners for knob in owned_names(which))}
