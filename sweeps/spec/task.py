"""What a sweep file may say to its task: the arguments of the factory, read off its signature.

A function that trains by itself has such arguments too, beside its `trial`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.errors import UserError
from sweeps.spec.faults import Faults, nearest, shown, unknown
from sweeps.tasks import HANDLE, load_factory, trains_itself


@dataclass(frozen=True)
class Arguments:
    """The keyword arguments of a task's factory; `free`: it takes any (`**kwargs`).

    `own_loop`: it is no factory, but a function that trains by itself.
    """

    names: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    free: bool = False
    own_loop: bool = False

    def takes(self, name: str) -> bool:
        """Return whether the factory can be given `name`."""
        return self.free or name in self.names


def read_arguments(task: Any, base: Path, faults: Faults) -> Arguments | None:
    """Return the arguments of the task's factory, None with a fault noted if it has no factory."""
    if not isinstance(task, str) or not task.strip():
        return None
    try:
        factory = load_factory(task, base)
        parameters = list(inspect.signature(factory).parameters.values())
    except UserError as error:
        faults.add(("task",), str(error))
        return None
    own_loop = trains_itself(factory)
    parameters = parameters[own_loop:]
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Arguments(
        tuple(p.name for p in by_name),
        tuple(p.name for p in by_name if p.default is p.empty),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
        own_loop,
    )


_OF_LOOPS: Mapping[str, tuple[tuple[object, ...], str]] = {
    "precision": (("float32",), "choose it in the function"),
    "repeats": ((1,), "train with several seeds in the function, and report their mean"),
    "compile": (("auto", False), "call torch.compile in the function"),
    "lanes": (("auto", 1), "give workers: N for several trials at once"),
}
"""What belongs to the training loop -> what it may be where the loop is the user's own, and what to
do instead."""


def check_own_loop(data: Mapping[str, Any], faults: Faults) -> None:
    """Note keys that a function which trains by itself would never see."""
    for name, (allowed, instead) in _OF_LOOPS.items():
        if name in data and data[name] not in allowed:
            text = f"{name} is {shown(data[name])}, but task '{data['task']}' trains by itself"
            faults.add((name,), f"{text} (it takes a `{HANDLE}`): {instead}")
    average = data.get("average", "none")
    if average not in ("none", ["none"]):
        faults.add(("average",), no_average(average))


def no_average(average: Any) -> str:
    """Return why a function that trains by itself has no average."""
    return (
        f"average is {shown(average)}, but the task trains by itself (it takes a `{HANDLE}`): "
        "average the weights in the function, with optimizers.WeightAverage"
    )


def check_task_args(
    task: Any, raw: Any, arguments: Arguments | None, searched: Any, faults: Faults
) -> None:
    """Note arguments that the factory does not have, needs and does not get, or gets twice.

    `searched` are the names in `parameters`.
    """
    given = raw if isinstance(raw, Mapping) else {}
    other = searched if isinstance(searched, Mapping) else {}
    for name in given:
        path = ("task_args", name)
        if name in other:
            line = faults.line(("parameters", name))
            text = f"'{name}' is given twice: in task_args and as parameters.{name} (line {line})"
            faults.add(path, f"{text}; keep one")
        if arguments and not arguments.takes(name):
            if arguments.names:
                text = unknown("argument", name, arguments.names)
            else:
                text = f"argument '{name}' is unknown; the factory takes none"
            faults.add(path, f"task '{task}': {text}")
    for name in arguments.needed if arguments else ():
        if name not in given and name not in other:
            hint = nearest(name, [*given, *other])
            text = f"task '{task}' needs the argument '{name}': give it in task_args{hint}"
            faults.add(("task",), text)
