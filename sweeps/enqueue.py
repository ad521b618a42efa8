"""`sweeps enqueue`: known configurations for a study that exists, as `enqueue:` of a sweep file.

An entry is checked against the study's own sweep file like one that stands there, and nothing is
written unless every entry is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies import StudyStorage, UserError
from sweeps.config import AnyConfig
from sweeps.launch import open_sweep
from sweeps.plan import planned, put_in
from sweeps.spec import Spec, SpecError
from sweeps.spec.faults import Faults, dotted, shown
from sweeps.spec.yaml_lines import Document, read_yaml
from sweeps.spec.yaml_lines import Path as Place
from sweeps.stored import stored_spec, sweep_of

ARGUMENTS = "arguments"  # where a fault of key=value stands
_LISTS = (("enqueue",), ("baseline",))  # a file may have its configurations below such a key


@dataclass(frozen=True)
class Entries:
    """Configurations as given, each with its place in `document` and its place in messages."""

    source: str
    document: Document
    entries: Sequence[tuple[Place, Place, Any]]


def from_arguments(pairs: Sequence[str]) -> Entries:
    """Read `key=value ...` as one configuration, each value as YAML reads it."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    unread: set[Place] = set()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            problems.append(f"{shown(pair)} is not key=value; write lr=0.01")
            continue
        if name in values:
            problems.append(f"'{name}' is there twice; give it once")
        read = read_yaml(text)
        problems += [f"{shown(pair)}: {message}" for _, message in read.errors]
        unread |= {(name,)} if read.errors else set()
        values[name] = read.data
    errors = tuple((None, problem) for problem in problems)
    document = Document(values, errors=errors, unread=frozenset(unread))
    return Entries(ARGUMENTS, document, [((), ("enqueue",), values)])


def from_yaml(path: Path) -> Entries:
    """Read a file with one configuration, a list of them, or `enqueue:` or `baseline:` above them.

    What `sweeps best` prints for a sweep file is such a file.

    Raises:
        UserError: the file cannot be read, is not YAML at all, or holds something else.
    """
    try:
        document = read_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    if document.data is None and document.errors:
        raise SpecError(str(path), Faults(document).found)
    data = document.data
    above: Place = ()
    if isinstance(data, Mapping) and tuple(data) in _LISTS:
        above = tuple(data)
        (data,) = data.values()
    places: list[Place] = [()] if isinstance(data, Mapping) else []
    if isinstance(data, list):
        places = [(index,) for index in range(len(data))]
    if not places:
        raise UserError(
            f"{path}: holds no configuration. Write one, such as 'lr: 0.01', or a list of them"
        )
    name = above or ("enqueue",)
    entries = [((*above, *p), (*name, *p), data[p[-1]] if p else data) for p in places]
    return Entries(str(path), document, entries)


def enqueue(storage: StudyStorage, study: str, given: Entries) -> list[tuple[int, AnyConfig]]:
    """Put the configurations into `study` as waiting trials; a live sweep takes them up next.

    Returns:
        The number and the configuration of each new trial.

    Raises:
        SpecError: one of them is wrong; it holds every fault, and no trial is put in.
        UserError: no such study, a plain Optuna one, or its sweep file cannot be used any more.
    """
    spec = stored_spec(sweep_of(storage, study))
    entries = tuple(_checked(given, spec))
    spec = spec.model_copy(update={"enqueue": entries})
    sweep = open_sweep(spec, storage.url.render_as_string(hide_password=False), study)
    with sweep.storage:
        known = [config for origin, config in planned(sweep) if origin == "enqueued"]
        return [(put_in(sweep, "enqueued", config), config) for config in known]


def _checked(given: Entries, spec: Spec) -> list[dict[str, Any]]:
    faults = Faults(given.document)
    for there, place, entry in given.entries:
        faults.move(there, place)
        if not isinstance(entry, Mapping):
            text = f"{dotted(place)} is {shown(entry)}; give a mapping of names to values"
            faults.add(place, text)
        spec.check_known(entry, place, faults)
    if faults.found:
        raise SpecError(given.source, faults.found)
    return [dict(entry) for _, _, entry in given.entries]
