"""What a sweep file may say to its task: the arguments of the factory, read off its signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.errors import UserError
from sweeps.spec.faults import Faults, nearest, unknown
from sweeps.tasks import load_factory


@dataclass(frozen=True)
class Arguments:
    """The keyword arguments of a task's factory; `free`: it takes any (`**kwargs`)."""

    names: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    free: bool = False

    def takes(self, name: str) -> bool:
        """Return whether the factory can be given `name`."""
        return self.free or name in self.names


def read_arguments(task: Any, base: Path, faults: Faults) -> Arguments | None:
    """Return the arguments of the task's factory, None with a fault noted if it has no factory."""
    if not isinstance(task, str) or not task.strip():
        return None
    try:
        parameters = inspect.signature(load_factory(task, base)).parameters.values()
    except UserError as error:
        faults.add(("task",), str(error))
        return None
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Arguments(
        tuple(p.name for p in by_name),
        tuple(p.name for p in by_name if p.default is p.empty),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
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
