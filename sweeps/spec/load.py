"""A sweep file as a `Spec`: read, checked as a whole, resolved.

    text -> data and lines -> keys (`models`) -------+
                           -> parameters -> `Space` -+-> Spec, or SpecError with every fault
                           -> baseline, enqueue -----+

Nothing is created and no model is built. A task's module is imported for its arguments' names; of a
program file (`program_keys`, `program_space`) nothing is imported or looked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from optimizers import ALGORITHMS, SCHEDULES
from optimizers.rule import DECAYS
from studies import UserError, mask_passwords
from sweeps.config import AnyConfig
from sweeps.scripts.program import Program
from sweeps.space import Space
from sweeps.space.script import ScriptSpace
from sweeps.spec.build_space import SpaceBuilder
from sweeps.spec.entries import read_entries
from sweeps.spec.faults import Faults, SpecError, dotted
from sweeps.spec.keys import PROGRAM_NAMES, read_keys, top_level
from sweeps.spec.known import check_known, known_config
from sweeps.spec.lift import lift_parameters
from sweeps.spec.meaning import meaning
from sweeps.spec.models import AVERAGE_NAMES, SweepFile
from sweeps.spec.momentum import check_cycled_space
from sweeps.spec.names import check_clashes, check_names, meant
from sweeps.spec.program_keys import OWN_KEYS, read_program_keys, sift
from sweeps.spec.program_space import check_script_entry, known_script_config, read_script_space
from sweeps.spec.stoppers import check_stopper
from sweeps.spec.task import Arguments, check_own_loop, check_task_args, read_arguments
from sweeps.spec.yaml_1_1 import read_yaml_1_1
from sweeps.spec.yaml_lines import Path as Place
from sweeps.spec.yaml_lines import read_yaml

_LARGEST_GRID = 1_000_000


class Spec(SweepFile):
    """A checked sweep file; `storage` and `tracking` are as given, with their passwords.

    `text` is the file's own with every password masked, to be shown and stored: it need not be YAML
    any more. `named` are the names at the file's top level and in its `parameters`. `own_loop`: the
    task is a function that trains by itself. `program` is the script of a program file, whose keys
    of task files are at their defaults and mean nothing; `passed_over` are the names in it that
    mean nothing here.
    """

    path: Path
    text: str = Field(exclude=True)
    named: frozenset[str] = Field(exclude=True)
    space: Space = Field(exclude=True)
    program: Program | None = Field(default=None, exclude=True)
    passed_over: tuple[str, ...] = Field(default=(), exclude=True)
    own_loop: bool = Field(default=False, exclude=True)
    known_as: str | None = Field(default=None, exclude=True)
    """The task as its study has it, where its file stands elsewhere on this machine."""

    def baseline_config(self, *, epochs: int, batch_size: int) -> AnyConfig | None:
        """Return trial 0, what the user uses today; None for `baseline: false` (or `none`).

        `epochs` and `batch_size` are the sweep's or the task's own.
        """
        if self.baseline is None:
            return None
        return self._known(self.baseline, epochs, batch_size)

    def enqueue_configs(self, *, epochs: int, batch_size: int) -> tuple[AnyConfig, ...]:
        """Return the configurations of `enqueue`, in the file's order."""
        return tuple(self._known(entry, epochs, batch_size) for entry in self.enqueue)

    def check_known(self, entry: Any, place: Place, faults: Faults) -> None:
        """Note what is wrong in one more entry of `enqueue`, at `place` of another document."""
        if isinstance(self.space, ScriptSpace):
            check_script_entry(entry, place, self.space, faults)
        else:
            arguments = read_arguments(self.task, self.path.parent, faults)
            check_known(entry, place, self.space, arguments, faults)

    def at(self, path: Path) -> Spec:
        """Return the same file as it would be read at another path."""
        program = self.program and replace(self.program, folder=path.parent)
        return self.model_copy(update={"path": path, "program": program})

    def to_json(self) -> dict[str, Any]:
        """Return every key with its resolved value, the space and its knobs, JSON-able.

        Passwords are masked in all texts. `space` is `Space.signature()`, `knobs` is
        `Space.listed()`.
        """
        resolved = self.model_dump(mode="json")
        if self.program is not None:
            own = {**resolved, **asdict(self.program)}
            resolved = {name: own[name] for name in OWN_KEYS} | {"path": resolved["path"]}
        resolved |= {"space": self.space.signature(), "knobs": self.space.listed()}
        return {name: _masked(value) for name, value in resolved.items()}

    def meaning(self) -> dict[str, Any]:
        """Return what a trial's value depends on; `differences` compares it with a stored one."""
        return meaning(self)

    def _known(self, entry: Mapping[str, Any], epochs: int, batch_size: int) -> AnyConfig:
        if isinstance(self.space, ScriptSpace):
            return known_script_config(entry, self.space)
        return known_config(entry, self.space, self.decay, epochs=epochs, batch_size=batch_size)


def load_spec(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Spec:
    """Read, check and resolve a sweep file; `overrides` replace or add top-level keys.

    Raises:
        SpecError: the file is wrong; it holds every fault.
        UserError: the file cannot be read.
    """
    path, overrides = Path(path), overrides or {}
    text = _read(path)
    document = read_yaml(text)
    given = {**_mapping(document.data), **overrides}
    if "task" not in given and any(given.get(name) is not None for name in PROGRAM_NAMES):
        return _load_program(path, text, overrides)
    faults = Faults(document, overrides)
    data = top_level(document.data, overrides, faults)
    if data is None:
        raise SpecError(str(path), faults.found)
    named = frozenset({*data, *_mapping(data.get("parameters"))})
    lift_parameters(data, faults)
    arguments = read_arguments(data.get("task"), path.parent, faults)
    check_task_args(
        data.get("task"), data.get("task_args"), arguments, data.get("parameters"), faults
    )
    _import_from(path.parent, data.get("optimizer"))
    check_stopper(data.get("early_terminate"), faults)
    own_loop = arguments is not None and arguments.own_loop
    if own_loop:
        check_own_loop(data, faults)
    keys = read_keys(data, path, faults, any_metric=own_loop or arguments is None)
    space = _space(data, arguments, faults)
    known = data.get("enqueue")
    for index, entry in enumerate(known if isinstance(known, list) else ()):
        check_known(entry, ("enqueue", index), space, arguments, faults)
    check_known(data.get("baseline"), ("baseline",), space, arguments, faults)
    if keys is None or faults.found:
        raise SpecError(str(path), faults.found)
    return _spec(keys, path, text, named=named, space=space, own_loop=own_loop)


def _load_program(path: Path, text: str, overrides: Mapping[str, Any]) -> Spec:
    """Read, check and resolve a program file."""
    document = read_yaml_1_1(text)
    faults = Faults(document, overrides)
    data, passed_over = sift({**_mapping(document.data), **overrides}, faults)
    if document.data is None:
        raise SpecError(str(path), faults.found)
    check_stopper(data.get("early_terminate"), faults)
    keys = read_program_keys(data, path, faults)
    space = read_script_space(data.get("parameters"), faults, grid=data.get("method") == "grid")
    for index, entry in enumerate(keys.enqueue if keys else ()):
        check_script_entry(entry, ("enqueue", index), space, faults)
    check_script_entry(data.get("baseline"), ("baseline",), space, faults)
    if keys is None or faults.found:
        raise SpecError(str(path), faults.found)
    own = {field.name for field in fields(Program)} - {"folder"}
    program = Program(folder=path.parent, **{name: getattr(keys, name) for name in own})
    named = frozenset({*data, *_mapping(data.get("parameters"))})
    more = {"program": program, "passed_over": passed_over}
    return _spec(keys, path, text, named=named, space=space, **more)


def _spec(keys: SweepFile, path: Path, text: str, **more: Any) -> Spec:
    resolved = {name: getattr(keys, name) for name in SweepFile.model_fields}
    if keys.method == "bayes":
        resolved["method"] = "gp"
    return Spec.model_construct(**resolved, path=path, text=mask_passwords(text), **more)


def _import_from(folder: Path, optimizers: Any) -> None:
    """Let an optimizer with a dotted name be a module beside the sweep file, as a task may be."""
    names = optimizers if isinstance(optimizers, list) else [optimizers]
    dotted_name = any(isinstance(name, str) and "." in name for name in names)
    if dotted_name and str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def _masked(value: Any) -> Any:
    """Return JSON-able data with the passwords in its texts masked."""
    if isinstance(value, str):
        return mask_passwords(value)
    if isinstance(value, dict):
        return {name: _masked(inner) for name, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value


def _mapping(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _space(data: Mapping[str, Any], arguments: Arguments | None, faults: Faults) -> Space:
    """Return the space of whatever is right in the file, noting what is wrong."""
    optimizers, some_wrong = _chosen(data.get("optimizer", "adamw"), ALGORITHMS)
    schedules, others_wrong = _chosen(data.get("schedule", "cosine"), SCHEDULES)
    names_of_averages = dict.fromkeys(AVERAGE_NAMES)
    averages, more_wrong = _chosen(data.get("average", "none"), names_of_averages)
    grid = data.get("method") == "grid"
    entries = read_entries(data.get("parameters"), faults, grid=grid)
    decay = data.get("decay")
    builder = SpaceBuilder(entries, faults, grid, decay if decay in DECAYS else None)
    names: Iterable[str] = arguments.names if arguments else ()
    if arguments and arguments.free:
        names = [*names, *(name for scope, name in entries.of if scope is None)]
    own = _mapping(data.get("task_args"))
    space = builder.build(optimizers, schedules, averages, own, names)
    check_clashes(entries, arguments, (*optimizers, *schedules), faults)
    sound = not (some_wrong or others_wrong or more_wrong)
    check_names(entries, space.choices, arguments, faults, sound=sound)
    check_cycled_space(space, faults)
    if grid:
        _check_grid(space, builder, faults)
    return space


def _chosen(raw: Any, registry: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the names that are meant, as far as one can tell, and whether some are wrong.

    None where the first is anyone's guess: it is what `baseline` hangs on.
    """
    names = raw if isinstance(raw, list) else [raw]
    found = [meant(name, registry) for name in names]
    if not found or found[0] is None:
        return (), True
    known = tuple(dict.fromkeys(name for name in found if name is not None))
    return known, any(name not in registry for name in map(str, names))


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
