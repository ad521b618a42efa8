"""Names in `parameters` that nothing uses: misspelled, another optimizer's, a top-level key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimizers import ALGORITHMS, AVERAGES, SCHEDULES
from optimizers.names import closest
from sweeps.space import FRACTIONS, PRODUCT
from sweeps.spec.build_space import SWEEP_KNOBS
from sweeps.spec.entries import ALIASES, Entries
from sweeps.spec.faults import Faults, dotted, nearest
from sweeps.spec.foreign import foreign
from sweeps.spec.lift import CHOICES
from sweeps.spec.models import SweepFile
from sweeps.spec.task import Arguments
from sweeps.spec.yaml_lines import Path


def meant(name: Any, registry: Mapping[str, Any]) -> str | None:
    """Return the name in `registry` that `name` is, or else misspells; None where none is near."""
    if not isinstance(name, str):
        return None
    return name if name in registry else closest(name, registry)


def owned_names(which: str) -> tuple[str, ...]:
    """Return every knob of the optimizer, schedule or average `which`, converted ones included."""
    if which in ALGORITHMS:
        rule = ALGORITHMS[which]
        product = (PRODUCT,) if rule.decay is not None else ()
        return (*rule.hypers, *rule.options, *rule.free, *product)
    if which in AVERAGES:
        return tuple(AVERAGES[which].hypers)
    hypers = SCHEDULES[which].hypers
    return (*hypers, *(name for name, fraction in FRACTIONS.items() if fraction in hypers))


def check_names(
    entries: Entries,
    chosen: Mapping[str, Iterable[str]],
    arguments: Arguments | None,
    faults: Faults,
    *,
    sound: bool,
) -> None:
    """Note every entry of `parameters` that belongs to nobody.

    `sound` is False when a choice of optimizer, schedule or average is itself wrong; then a name
    that some of them has is let be. Without `arguments` (the task could not be read) only likely
    misspellings are noted.
    """
    bare = [*chosen["optimizer"], *chosen["schedule"]]
    averages = [name for name in chosen["average"] if name in AVERAGES]
    owners = [*bare, *averages]
    everyone = (*ALGORITHMS, *SCHEDULES, *AVERAGES)
    for (scope, name), entry in entries.of.items():
        if entry.used or (scope is None and name in owners):
            continue
        if scope is not None:
            if scope in owners:
                _note_scoped(scope, name, entry.path, faults)
            continue
        if any(name in registry for registry in (ALGORITHMS, SCHEDULES, AVERAGES)):
            if sound:
                text = f"{name} is not among the sweep's optimizers, schedules and averages"
                faults.add(entry.path, f"{text} ({', '.join(owners)}), so it has no parameters")
            continue
        nested = [which for which in averages if name in owned_names(which)]
        elsewhere = [which for which in everyone if name in owned_names(which)]
        if nested:
            _note_bare(name, entry.path, nested, faults)
        elif elsewhere and sound:
            text = f"parameters.{name} belongs to {', '.join(elsewhere)}"
            faults.add(entry.path, f"{text}, and this sweep uses {', '.join(owners)}")
        if not elsewhere:
            _note_unknown(name, entry.path, bare, arguments, faults)


def _note_bare(name: str, path: Path, averages: list[str], faults: Faults) -> None:
    text = f"parameters.{name} belongs to {', '.join(averages)}; an average's are nested"
    faults.add(path, f"{text}: {averages[0]}: {{parameters: {{{name}: ...}}}}")


def _note_scoped(scope: str, name: str, path: Path, faults: Faults) -> None:
    known = owned_names(scope)
    hint = nearest(name, known)
    text = f"{dotted(path)}: {scope} has no parameter '{name}'{hint or '.'}"
    faults.add(path, f"{text} It has: {', '.join(known)}")


def _note_unknown(
    name: str,
    path: Path,
    owners: Iterable[str],
    arguments: Arguments | None,
    faults: Faults,
) -> None:
    own = dict.fromkeys(each for which in owners for each in owned_names(which))
    task = arguments.names if arguments else ()
    known = [*own, *ALIASES, *task, *CHOICES, *SWEEP_KNOBS]
    if name in SweepFile.model_fields:
        faults.add(
            path, f"parameters.{name}: {name} is a key of the file's top level; put it there"
        )
        return
    hint = nearest(name, known)
    if arguments is None and not hint:
        return
    text = foreign(name)
    if text is None:
        task_names = f"the task's arguments: {', '.join(task) or 'none'}; " if arguments else ""
        text = f"parameter '{name}' belongs to nobody{hint or '.'}"
        text += f" Known: {task_names}knobs: {', '.join(own)}"
    faults.add(path, text)


def check_clashes(
    entries: Entries, arguments: Arguments | None, owners: Iterable[str], faults: Faults
) -> None:
    """Note a bare name that is an argument of the task and an optimizer's or schedule's knob."""
    for (scope, name), entry in entries.of.items():
        holders = [which for which in owners if name in owned_names(which)]
        if scope is None and holders and arguments and name in arguments.names:
            text = f"parameters.{name} is both {holders[0]}'s and an argument of the task"
            remedy = f"nest it ({holders[0]}: {{parameters: ...}}), and set the task's in task_args"
            faults.add(entry.path, f"{text}; {remedy}")
