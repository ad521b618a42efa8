"""A task file as a `Spec`: read, checked as a whole, resolved.

    text -> data and lines -> keys (`models`) -------+
                           -> parameters -> `Space` -+-> Spec, or SpecError with every fault
                           -> baseline, enqueue -----+

Nothing is created and no model is built; the task's module is imported for its arguments' names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from optimizers import ALGORITHMS, SCHEDULES
from optimizers.rule import DECAYS
from studies import UserError, mask_passwords
from sweeps.config import Config
from sweeps.scripts.program import Program
from sweeps.space import Space
from sweeps.spec.build_space import SpaceBuilder
from sweeps.spec.entries import read_entries
from sweeps.spec.faults import Faults, SpecError, dotted
from sweeps.spec.keys import read_keys, top_level
from sweeps.spec.known import check_known, known_config
from sweeps.spec.lift import lift_parameters
from sweeps.spec.meaning import meaning
from sweeps.spec.models import AVERAGE_NAMES, SweepFile
from sweeps.spec.momentum import check_cycled_space
from sweeps.spec.names import check_clashes, check_names, meant
from sweeps.spec.stoppers import check_stopper
from sweeps.spec.task import Arguments, check_task_args, read_arguments
from sweeps.spec.yaml_lines import read_yaml

_LARGEST_GRID = 1_000_000


class Spec(SweepFile):
    """A checked task file; `storage` and `tracking` are as given, with their passwords.

    `text` is the file's own with every password masked, to be shown and stored: it need not be YAML
    any more. `named` are the names at the file's top level and in its `parameters`.
    """

    path: Path
    text: str = Field(exclude=True)
    named: frozenset[str] = Field(exclude=True)
    space: Space = Field(exclude=True)
    program: Program | None = Field(default=None, exclude=True)
    known_as: str | None = Field(default=None, exclude=True)
    """The task as its study has it, where its file stands elsewhere on this machine."""

    def baseline_config(self, *, epochs: int, batch_size: int) -> Config | None:
        """Return trial 0, what the user uses today; None for `baseline: false` (or `none`).

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
        """Return every key with its resolved value, the space and its knobs, JSON-able.

        Passwords are masked in all texts. `space` is `Space.signature()`, `knobs` is
        `Space.listed()`.
        """
        resolved = self.model_dump(mode="json")
        resolved |= {"space": self.space.signature(), "knobs": self.space.listed()}
        return {name: _masked(value) for name, value in resolved.items()}

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
    data = top_level(document.data, overrides or {}, faults)
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
    keys = read_keys(data, path, faults)
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
        text=mask_passwords(text),
        named=named,
        space=space,
    )


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
