"""A task file as a `Spec`: read, checked as a whole, resolved.

    text -> data and lines -> keys (`models`) -------+
                           -> parameters -> `Space` -+-> Spec, or SpecError with every fault
                           -> baseline, enqueue -----+

Nothing is created and no model is built; the task's module is imported for its arguments' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from optimizers import RULES, SCHEDULES
from studies.errors import UserError
from sweeps.config import Config
from sweeps.space import Space
from sweeps.spec.build_space import ALIASES, SpaceBuilder, read_entries
from sweeps.spec.faults import Faults, SpecError, dotted, nearest, shown
from sweeps.spec.foreign import foreign
from sweeps.spec.known import check_known, known_config
from sweeps.spec.lift import lift_parameters
from sweeps.spec.meaning import meaning
from sweeps.spec.models import SweepFile
from sweeps.spec.names import check_clashes, check_names, owned_names
from sweeps.spec.stoppers import check_stopper
from sweeps.spec.task import Arguments, check_task_args, read_arguments
from sweeps.spec.yaml_lines import read_yaml

_LARGEST_GRID = 1_000_000
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")


class Spec(SweepFile):
    """A checked task file. `text` is the file's own, with passwords in URLs masked."""

    path: Path
    text: str
    space: Space = Field(exclude=True)

    def baseline_config(self, *, epochs: int, batch_size: int) -> Config | None:
        """Return trial 0, what the user uses today; None where the file says `baseline: false`.

        `epochs` and `batch_size` are the sweep's or the task's own.
        """
        if self.baseline is None:
            return None
        return known_config(
            self.baseline, self.space, self.decay, epochs=epochs, batch_size=batch_size
        )

    def enqueue_configs(self, *, epochs: int, batch_size: int) -> tuple[Config, ...]:
        """Return the configurations of `enqueue`, in the file's order."""
        return tuple(
            known_config(entry, self.space, self.decay, epochs=epochs, batch_size=batch_size)
            for entry in self.enqueue
        )

    def to_json(self) -> dict[str, Any]:
        """Return every key with its resolved value and the space, JSON-able, passwords masked."""
        resolved = self.model_dump(mode="json", exclude={"text"})
        resolved["storage"], resolved["tracking"] = map(_masked, (self.storage, self.tracking))
        return resolved | {"space": self.space.signature()}

    def meaning(self) -> dict[str, Any]:
        """Return what a trial's value depends on; `differences` compares it with a stored one."""
        return meaning(self)


def load_spec(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Spec:
    """Read, check and resolve a task file; `overrides` replace or add top-level keys.

    Raises:
        SpecError: the file is wrong; it holds every fault.
        UserError: the file cannot be read.
    """
    path = Path(path)
    text = _read(path)
    document = read_yaml(text)
    faults = Faults(document, overrides or ())
    data = _top_level(document.data, overrides or {}, faults)
    if data is None:
        raise SpecError(str(path), faults.found)
    lift_parameters(data, faults)
    arguments = read_arguments(data.get("task"), path.parent, faults)
    check_task_args(
        data.get("task"), data.get("task_args"), arguments, data.get("parameters"), faults
    )
    check_stopper(data.get("early_terminate"), faults)
    keys = _keys(data, path, faults)
    space = _space(data, arguments, faults)
    known = data.get("enqueue")
    for index, entry in enumerate(known if isinstance(known, list) else ()):
        check_known(entry, ("enqueue", index), space, arguments, faults)
    check_known(data.get("baseline"), ("baseline",), space, arguments, faults)
    if keys is None or faults.found:
        raise SpecError(str(path), faults.found)
    if keys.method == "bayes":
        keys = keys.model_copy(update={"method": "gp"})
    return Spec.model_construct(
        **{name: getattr(keys, name) for name in SweepFile.model_fields},
        path=path,
        text=_masked(text),
        space=space,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def _masked(text: str) -> str:
    return _PASSWORD.sub(r"\1***@", text)


def _top_level(data: Any, overrides: Mapping[str, Any], faults: Faults) -> dict[str, Any] | None:
    """Return the keys that have a value, or None where there is no point in reading on."""
    if data is None:
        if not faults.found:
            faults.add((), "the file is empty; `sweeps init` writes one to start from")
        return None
    if not isinstance(data, Mapping):
        faults.add((), f"a sweep file is a mapping of keys to values, not {shown(data)}")
        return None
    keys = {name: value for name, value in data.items() if value is not None} | dict(overrides)
    scripts = [name for name in ("program", "command") if name in keys]
    for name in scripts:
        if "task" in keys:
            line = faults.line(("task",))
            text = f"{name} and task (line {line}) are both given; a sweep file has one of them"
        else:
            text = f"{name}: sweeps of scripts are not there yet in this version; give a task"
        faults.add((name,), text)
        del keys[name]
    if scripts and "task" not in keys:
        return None
    if "task" not in keys:
        text = "task is missing: a built-in name, package.module:factory or file.py:factory"
        faults.add((), text + " (or program, for a script: not there yet in this version)")
    if "compare" in keys:
        faults.add(("compare",), "compare: fair races are not there yet in this version")
        del keys["compare"]
    return keys


def _keys(data: Mapping[str, Any], path: Path, faults: Faults) -> SweepFile | None:
    """Return the typed keys, with every fault that pydantic finds put into words."""
    own = {name: value for name, value in data.items() if name != "parameters"}
    if not own.get("name"):
        own["name"] = path.stem
    if isinstance(own.get("metric"), list):
        text = "metric is a list; several objectives are not there yet in this version"
        faults.add(("metric",), f"{text}: give one {{name, goal}}")
        del own["metric"]
    _merge_cap(own, faults)
    own.setdefault("task", "missing")
    try:
        return SweepFile.model_validate(own)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, faults)
        return None


def _merge_cap(own: dict[str, Any], faults: Faults) -> None:
    """Move `run_cap` to `budget.trials`, which it means."""
    if "run_cap" not in own:
        return
    cap = own.pop("run_cap")
    budget = own.setdefault("budget", {})
    if not isinstance(budget, Mapping):
        return
    if budget.get("trials", cap) != cap:
        line = faults.line(("budget", "trials"))
        text = f"run_cap is {cap} and budget.trials (line {line}) is {budget['trials']}"
        faults.add(("run_cap",), f"{text}; they mean the same, keep one")
    elif "trials" not in budget:
        faults.move(("run_cap",), ("budget", "trials"))
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
    known = [*model.model_fields, *(("parameters", "run_cap") if len(path) == 1 else ())]
    name = str(path[-1])
    text = foreign(name)
    if text is None and len(path) == 1 and name in _knob_names():
        text = f"'{name}' is a knob, not a key of the top level; put it under parameters"
    if text is None:
        text = f"key '{dotted(path)}' is unknown{nearest(name, known) or '.'}"
        text += f" Known: {', '.join(known)}"
    return text


def _knob_names() -> set[str]:
    return {*ALIASES, *(knob for which in (*RULES, *SCHEDULES) for knob in owned_names(which))}


def _space(data: Mapping[str, Any], arguments: Arguments | None, faults: Faults) -> Space:
    """Return the space of whatever is right in the file, noting what is wrong."""
    optimizers, some_wrong = _chosen(data.get("optimizer", "adamw"), RULES)
    schedules, others_wrong = _chosen(data.get("schedule", "cosine"), SCHEDULES)
    entries = read_entries(data.get("parameters"), faults)
    decay = data.get("decay")
    grid = data.get("method") == "grid"
    builder = SpaceBuilder(entries, faults, grid, decay if decay in ("l2", "decoupled") else None)
    names: Iterable[str] = arguments.names if arguments else ()
    if arguments and arguments.free:
        names = [*names, *(name for scope, name in entries.of if scope is None)]
    task_args = data.get("task_args")
    own = task_args if isinstance(task_args, Mapping) else {}
    space = builder.build(optimizers, schedules, ("none",), own, names)
    owners = (*optimizers, *schedules)
    check_clashes(entries, arguments, owners, faults)
    chosen = {"optimizer": optimizers, "schedule": schedules}
    check_names(entries, chosen, arguments, faults, sound=not (some_wrong or others_wrong))
    if grid:
        _check_grid(space, builder, faults)
    return space


def _chosen(raw: Any, registry: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the names that the registry has, and whether there are others."""
    names = raw if isinstance(raw, list) else [raw]
    known = tuple(dict.fromkeys(n for n in names if isinstance(n, str) and n in registry))
    return known or (next(iter(registry)),), len(known) < len(names)


def _check_grid(space: Space, builder: SpaceBuilder, faults: Faults) -> None:
    size = space.size()
    if size is not None and size > _LARGEST_GRID:
        text = f"the grid has {size:,} points; give fewer values ({_LARGEST_GRID:,} at most)"
        faults.add(("parameters",), text)
    continuous = {knob.name for knob in space.knobs if knob.distribution.grid() is None}
    for (_, name), entry in builder.entries.of.items():
        if name in continuous and entry.distribution and entry.distribution.grid() is None:
            text = f"is {entry.distribution.describe()}, which a grid cannot run through"
            remedy = "give values, int_uniform or q_uniform, or another method"
            faults.add(entry.path, f"{dotted(entry.path)} {text}; {remedy}")
