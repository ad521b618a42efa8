"""Schedules that cycle momentum, with optimizers whose momentum is or may be 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optimizers import ALGORITHMS, SCHEDULES
from sweeps.space import Space
from sweeps.spec.faults import Faults, dotted
from sweeps.spec.yaml_lines import Path

_CYCLED = ("beta1", "momentum")


def cycled_knob(optimizer: str, schedule: str) -> str | None:
    """Return the optimizer's knob that the schedule sets, None where it leaves momentum alone."""
    rule = ALGORITHMS[optimizer]
    if "max_momentum" not in SCHEDULES[schedule].hypers or getattr(rule, "averages", False):
        return None
    return next((name for name in _CYCLED if name in rule.hypers), None)


def always_cycled(optimizer: str, schedules: Iterable[str]) -> str | None:
    """Return the optimizer's knob that every one of the schedules sets, None if some does not."""
    knobs = {cycled_knob(optimizer, schedule) for schedule in schedules}
    return knobs.pop() if len(knobs) == 1 else None


def check_cycled_space(space: Space, faults: Faults) -> None:
    """Note each optimizer whose momentum some trial of a cycling schedule has at 0."""
    for optimizer in space.optimizers:
        for schedule in space.schedules:
            name = cycled_knob(optimizer, schedule)
            own = [k for k in space.knobs if k.name == name and k.owner.which == optimizer]
            if any((knob.distribution.bounds() or (1, 1))[0] <= 0 for knob in own):
                faults.add(("schedule",), _said("schedule", optimizer, schedule, str(name)))


def check_cycled_entry(
    values: Mapping[str, float], optimizer: str, schedule: str, path: Path, faults: Faults
) -> None:
    """Note a known configuration that cycles a momentum of 0; `values` are the optimizer's."""
    name = cycled_knob(optimizer, schedule)
    if name and values.get(name, ALGORITHMS[optimizer].hypers[name].default) == 0:
        faults.add(path, _said(dotted(path), optimizer, schedule, name))


def _said(where: str, optimizer: str, schedule: str, name: str) -> str:
    text = f"{where}: {schedule} cycles {name}, and {optimizer}'s may be 0 here"
    return f"{text}; give {optimizer} a {name} above 0, or leave {schedule} or {optimizer} out"
