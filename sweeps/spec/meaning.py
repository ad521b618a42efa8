"""What makes the trials of a study comparable, and how two files differ in it, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sweeps.space.values import value_text
from sweeps.spec.distributions import stored_distribution

if TYPE_CHECKING:
    from sweeps.scripts.program import Program
    from sweeps.spec import Spec

_CHOICES = ("optimizer", "schedule", "average")


def meaning(spec: Spec) -> dict[str, Any]:
    """Return what a trial's value depends on, JSON-able: two files with the same may share a study.

    Sampler, pruner, budget, seed and places (storage, device) may change from run to run.
    """
    metric = spec.metric
    judged = {"name": metric.name, "goal": metric.goal, "take": metric.take}
    if spec.program is not None:
        script = _program(spec.program)
        return {**script, "metric": judged, "space": spec.space.signature()}
    return {
        "task": _task(spec),
        "metric": judged,
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "precision": spec.precision,
        "repeats": spec.repeats,
        "space": spec.space.signature(),
    }


def _task(spec: Spec) -> str:
    """Return the task's name; a file by its whole path, since two folders may have a `train.py`."""
    if spec.known_as is not None:
        return spec.known_as
    module, _, factory = spec.task.rpartition(":")
    if not module.endswith(".py"):
        return spec.task
    return f"{(spec.path.parent / module).resolve()}:{factory}"


def _program(program: Program) -> dict[str, Any]:
    """Return what a trial runs: the script's whole path, since two folders may have a `train.py`.

    The environment and how many trials run at once may change from run to run.
    """
    folder, script = program.directory.resolve(), program.program
    where = str(folder) if script is None else str(folder / script)
    return {"program": where, "command": list(program.command)}


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return each difference between two meanings: `lr: [1e-4, 0.1] log -> [1e-3, 0.1] log`."""
    found = [
        f"{name}: {_said(name, stored)} -> {_said(name, now)}"
        for name in ("task", "program", "command", "epochs", "batch_size", "precision", "repeats")
        if stored.get(name) != now.get(name)
    ]
    found += [
        f"metric.{name}: {_said(name, stored['metric'])} -> {_said(name, now['metric'])}"
        for name, value in now["metric"].items()
        if stored["metric"].get(name) != value
    ]
    return found + list(_space_differences(stored["space"], now["space"]))


def _space_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in _CHOICES:
        if list(old.get(name, ())) != list(new.get(name, ())):
            yield f"{name}: {_listed(old.get(name))} -> {_listed(new.get(name))}"
    renamed = any(list(old.get(name, ())) != list(new.get(name, ())) for name in _CHOICES)
    for label in dict.fromkeys([*old["knobs"], *new["knobs"]]):
        before, after = old["knobs"].get(label), new["knobs"].get(label)
        follows = renamed and (before is None or after is None)
        if before != after and not follows:
            yield f"{label}: {_described(before)} -> {_described(after)}"


def _described(raw: Mapping[str, Any] | None) -> str:
    return "not there" if raw is None else stored_distribution(raw).describe()


def _listed(names: list[str] | None) -> str:
    return ", ".join(names) if names else "none"


def _said(name: str, meant: Mapping[str, Any]) -> str:
    if meant.get(name) is None:
        return "the task's own" if name in meant else "none"
    return value_text(meant[name])
