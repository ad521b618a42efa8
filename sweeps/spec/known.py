"""Known configurations, `baseline` and `enqueue`: a few names given, the rest as published.

What an entry does not name: the sweep's first optimizer with its published defaults, schedule
constant, no averaging; for epochs, batch size and the task's arguments the sweep's constant or
first choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optimizers import RULES, SCHEDULES, Hyper
from sweeps.config import Config
from sweeps.space import FRACTIONS, Space, with_fractions
from sweeps.space.distributions import Categorical
from sweeps.space.values import is_int, same, value_text
from sweeps.spec.build_space import ALIASES, SWEEP_KNOBS, hyper_problem
from sweeps.spec.faults import Faults, dotted, shown, unknown
from sweeps.spec.lift import CHOICES
from sweeps.spec.task import Arguments
from sweeps.spec.yaml_lines import Path


def known_config(
    entry: Mapping[str, Any], space: Space, decay: str | None, *, epochs: int, batch_size: int
) -> Config:
    """Return the configuration that a checked entry of `baseline` or `enqueue` means."""
    given = {ALIASES.get(name, name): value for name, value in entry.items()}
    rule = RULES[given.pop("optimizer", space.optimizers[0])]
    schedule = SCHEDULES[given.pop("schedule", "constant")]
    average = given.pop("average", "none")
    sweep = {k.name: k.distribution.first() for k in space.knobs if k.owner.kind == "sweep"}
    epochs = given.pop("epochs", sweep.get("epochs", epochs))
    batch_size = given.pop("batch_size", sweep.get("batch_size", batch_size))
    hypers = {name: given.pop(name, hyper.default) for name, hyper in rule.hypers.items()}
    switches = {name: given.pop(name, allowed[0]) for name, allowed in rule.switches.items()}
    if decay not in (None, rule.decay):
        switches["decay"] = decay
    own: dict[str, Any] = {name: hyper.default for name, hyper in schedule.hypers.items()}
    own |= {name: given.pop(name) for name in list(given) if name in own and name not in hypers}
    for name, fraction in FRACTIONS.items():
        if name in given and fraction in own:
            own |= with_fractions({name: given.pop(name)}, epochs)
    first = {k.name: k.distribution.first() for k in space.knobs if k.owner.kind == "task"}
    return Config(
        rule.name, hypers, switches, schedule.name, own, average, epochs, batch_size, first | given
    )


def check_known(
    entry: Any, path: Path, space: Space, arguments: Arguments | None, faults: Faults
) -> None:
    """Note every name and value in an entry of `baseline` or `enqueue` that cannot be."""
    if not isinstance(entry, Mapping):
        return
    choices: dict[str, tuple[str, ...]] = {
        "optimizer": tuple(RULES), "schedule": tuple(SCHEDULES), "average": ("none",)
    }  # fmt: skip
    for name, known in choices.items():
        if name in entry and entry[name] not in known:
            faults.add((*path, name), f"{dotted(path)}: {unknown(name, entry[name], known)}")
    which = entry.get("optimizer", space.optimizers[0])
    schedule = entry.get("schedule", "constant")
    if not (isinstance(which, str) and isinstance(schedule, str)):
        return
    if which not in RULES or schedule not in SCHEDULES:
        return
    checks = _checks(which, schedule)
    names = arguments.names if arguments else ()
    for name, value in entry.items():
        knob = ALIASES.get(name, name)
        if knob in checks:
            problem = checks[knob](value)
            if problem:
                faults.add((*path, name), f"{dotted((*path, name))}: {problem}")
        elif knob not in CHOICES and arguments and knob not in names and not arguments.free:
            known = (*CHOICES, *checks, *names)
            text = unknown("name", name, known)
            faults.add((*path, name), f"{dotted(path)} ({which}, {schedule}): {text}")


def _checks(which: str, schedule: str) -> dict[str, Callable[[Any], str | None]]:
    """Return, for every name that the entry may have beside the task's, what is wrong with it."""

    def of_hyper(name: str, hyper: Hyper) -> Callable[[Any], str | None]:
        return lambda value: hyper_problem(name, hyper, Categorical((value,)))

    def of_switch(name: str, allowed: tuple[object, ...]) -> Callable[[Any], str | None]:
        texts = ", ".join(map(value_text, allowed))
        return lambda value: (
            None
            if any(same(value, each) for each in allowed)
            else f"{shown(value)} is not a value of {name}. Known: {texts}"
        )

    def count(value: Any) -> str | None:
        return None if is_int(value) and value >= 1 else f"give a whole number, not {shown(value)}"

    own = SCHEDULES[schedule].hypers
    in_epochs = {name: own[fraction] for name, fraction in FRACTIONS.items() if fraction in own}
    rule = RULES[which]
    schedules_own = {n: h for n, h in {**own, **in_epochs}.items() if n not in rule.hypers}
    return {
        **{name: of_hyper(name, hyper) for name, hyper in rule.hypers.items()},
        **{name: of_switch(name, allowed) for name, allowed in rule.switches.items()},
        **{name: of_hyper(name, hyper) for name, hyper in schedules_own.items()},
        **dict.fromkeys(SWEEP_KNOBS, count),
    }
