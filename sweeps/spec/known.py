"""Known configurations, `baseline` and `enqueue`: a few names given, the rest as published.

What an entry does not name: the sweep's first optimizer with its published defaults, schedule
constant, no averaging; for epochs, batch size and the task's arguments the sweep's constant or
first choice. A name is, in this order, a choice, the optimizer's, the schedule's, a sweep knob or
an argument of the task; with its owner in front (`adamw.eps`, `plateau.eps`, `task.lr`) it is that
owner's. An average's names always have it in front (`swa.start`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from optimizers import ALGORITHMS, AVERAGES, SCHEDULES, Algorithm, Average, Hyper
from optimizers.schedules.schedule import Schedule
from optimizers.spaces import with_decay
from sweeps.config import Config
from sweeps.space import FRACTIONS, Owner, Space, with_fractions
from sweeps.space.distributions import Categorical
from sweeps.space.values import is_int, is_number, same, value_text
from sweeps.spec.build_space import SWEEP_KNOBS, hyper_problem
from sweeps.spec.entries import ALIASES, instead_of, same_knob
from sweeps.spec.faults import Faults, dotted, shown, unknown
from sweeps.spec.lift import CHOICES
from sweeps.spec.models import AVERAGE_NAMES
from sweeps.spec.momentum import check_cycled_entry
from sweeps.spec.names import meant
from sweeps.spec.task import Arguments, no_average
from sweeps.spec.yaml_lines import Path

Place = tuple[str, str]
"""Whose knob it is ("" for a choice; else adamw, cosine, ..., sweep or task), and its name."""


class _Chosen(NamedTuple):
    """What an entry trains with."""

    rule: Algorithm
    schedule: Schedule
    average: Average | None

    @property
    def average_hypers(self) -> Mapping[str, Hyper]:
        return {} if self.average is None else self.average.hypers

    @property
    def bare(self) -> dict[str, tuple[str, ...]]:
        """Owner -> its names, which may stand alone."""
        rule, schedule = self.rule, self.schedule
        return {
            rule.name: (*rule.hypers, *rule.options, *rule.free),
            schedule.name: (*schedule.hypers, *_in_epochs(schedule)),
        }

    @property
    def prefixed(self) -> dict[str, tuple[str, ...]]:
        """Owner -> its names, which may have it in front."""
        own = {} if self.average is None else {self.average.name: tuple(self.average.hypers)}
        return self.bare | own


def _chosen(optimizer: str, schedule: str, average: str) -> _Chosen:
    return _Chosen(ALGORITHMS[optimizer], SCHEDULES[schedule], AVERAGES.get(average))


def known_config(
    entry: Mapping[str, Any], space: Space, decay: str | None, *, epochs: int, batch_size: int
) -> Config:
    """Return the configuration that a checked entry of `baseline` or `enqueue` means.

    `decay` is the file's; the entry's own comes first.
    """
    average, planned = entry.get("average", "none"), entry.get("schedule", "constant")
    chosen = _chosen(entry.get("optimizer", space.optimizers[0]), planned, average)
    rule, schedule = chosen.rule, chosen.schedule
    given = _sorted(entry, chosen)
    own = given[rule.name]
    switches: dict[str, Any] = {name: each[0] for name, each in rule.switches.items()}
    switches |= {name: own[name] for name in rule.options if name in own}
    kind = rule.decay
    if rule.decay is not None:
        kind = switches.pop("decay", decay or rule.decay)
        switches |= {"decay": kind} if kind != rule.decay else {}
    hypers = {n: own.get(n, hyper.default) for n, hyper in with_decay(rule, kind).items()}
    for name, value in _free_values(rule, own, space).items():
        (hypers if is_number(value) else switches)[name] = value
    first: dict[str, dict[str, Any]] = {"sweep": {}, "task": {}}
    for knob in space.knobs:
        if knob.owner.kind in first:
            first[knob.owner.kind][knob.name] = knob.distribution.first()
    sweep = {"epochs": epochs, "batch_size": batch_size, **first["sweep"], **given["sweep"]}
    published = {name: hyper.default for name, hyper in schedule.hypers.items()}
    return Config(
        rule.name,
        hypers,
        switches,
        schedule.name,
        published | with_fractions(given[schedule.name], sweep["epochs"]),
        average,
        sweep["epochs"],
        sweep["batch_size"],
        first["task"] | given["task"],
        {name: hyper.default for name, hyper in chosen.average_hypers.items()} | given[average],
    )


def _free_values(rule: Algorithm, own: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """What is passed on unseen: as the entry has it, else the first value that the sweep has."""
    searched = {
        knob.name: knob.distribution.first()
        for knob in space.knobs
        if knob.owner == Owner("optimizer", rule.name) and knob.name in rule.free
    }
    return searched | {name: own[name] for name in rule.free if name in own}


def known_entry(config: Config) -> dict[str, Any]:
    """Return the entry that means `config` in any file; `known_config` reads it back."""
    chosen = _chosen(config.optimizer, config.schedule, config.average)
    rule, schedule = chosen.rule, chosen.schedule
    parts: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("", {"optimizer": rule.name}),
        (rule.name, {**config.hypers, **_decay_of(rule), **config.switches}),
        ("", {"schedule": schedule.name}),
        (schedule.name, config.schedule_hypers),
        ("", {"average": config.average}),
        (config.average, config.average_hypers),
        ("sweep", {"epochs": config.epochs, "batch_size": config.batch_size}),
        ("task", config.task_args),
    )
    return {
        _written(whose, name, chosen): value
        for whose, values in parts
        for name, value in values.items()
    }


def _decay_of(rule: Algorithm) -> dict[str, str]:
    return {} if rule.decay is None else {"decay": rule.decay}


def check_known(
    entry: Any, path: Path, space: Space, arguments: Arguments | None, faults: Faults
) -> None:
    """Note every name and value in an entry of `baseline` or `enqueue` that cannot be."""
    if not isinstance(entry, Mapping):
        return
    before = len(faults.found)
    averages = dict.fromkeys(AVERAGE_NAMES)
    for name, known in (("optimizer", ALGORITHMS), ("schedule", SCHEDULES), ("average", averages)):
        if name in entry and entry[name] not in known:
            text = unknown(name, entry[name], known)
            faults.add((*path, name), f"{dotted(path)}: {text}")
    if arguments and arguments.own_loop and entry.get("average", "none") != "none":
        faults.add((*path, "average"), f"{dotted(path)}: {no_average(entry['average'])}")
    which = meant(entry.get("optimizer", next(iter(space.optimizers), None)), ALGORITHMS)
    planned = meant(entry.get("schedule", "constant"), SCHEDULES)
    average = meant(entry.get("average", "none"), averages)
    if which is None or planned is None or average is None:
        return
    chosen = _chosen(which, planned, average)
    _check_names(entry, path, chosen, arguments, faults)
    if len(faults.found) == before:
        _check_together(entry, path, chosen, faults)


def _check_names(
    entry: Mapping[str, Any],
    path: Path,
    chosen: _Chosen,
    arguments: Arguments | None,
    faults: Faults,
) -> None:
    """Note names of nobody, names given twice, and values that a name cannot have."""
    checks = _checks(chosen)
    seen: dict[Place, str] = {}
    for name, value in entry.items():
        place = _place(name, chosen)
        if place in seen:
            same_knob((*path, name), (*path, seen[place]), faults)
        seen.setdefault(place, name)
        if place in checks:
            problem = checks[place](value)
            if problem:
                faults.add((*path, name), f"{dotted((*path, name))}: {problem}")
        elif place[0] == "task" and arguments and not arguments.takes(place[1]):
            places = [*(("", each) for each in CHOICES), *checks]
            places += [("task", each) for each in arguments.names]
            known = [_written(*each, chosen) for each in places]
            names = ", ".join(each.name for each in chosen if each is not None)
            text = f"{dotted(path)} ({names}): {unknown('name', name, known)}"
            faults.add((*path, name), text)
    for converted, fraction in FRACTIONS.items():
        pair = (chosen.schedule.name, converted), (chosen.schedule.name, fraction)
        if pair[0] in seen and pair[1] in seen:
            instead_of((*path, seen[pair[0]]), (*path, seen[pair[1]]), faults)


def _check_together(entry: Mapping[str, Any], path: Path, chosen: _Chosen, faults: Faults) -> None:
    """Note values that are right one by one and wrong together (nesterov without momentum)."""
    rule, schedule = chosen.rule, chosen.schedule
    given = _sorted(entry, chosen)
    own = given[rule.name]
    planned = {n: v for n, v in given[schedule.name].items() if n in schedule.hypers}
    try:
        switched = rule.switched({name: own[name] for name in rule.options if name in own})
        switched.check({name: own[name] for name in rule.hypers if name in own})
        schedule.check(planned)
    except ValueError as error:
        faults.add(path, f"{dotted(path)}: {error}")
    check_cycled_entry(own, rule.name, schedule.name, path, faults)


def _sorted(entry: Mapping[str, Any], chosen: _Chosen) -> defaultdict[str, dict[str, Any]]:
    """Return the entry's values by whose they are."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in entry.items():
        whose, knob = _place(name, chosen)
        found[whose][knob] = value
    return found


def _place(name: str, chosen: _Chosen) -> Place:
    names = chosen.prefixed
    whose = next((owner for owner in names if name.startswith(f"{owner}.")), "")
    whose, _, inner = (whose, ".", name[len(whose) + 1 :]) if whose else name.partition(".")
    if whose == "task" and inner:
        return whose, inner
    knob = ALIASES.get(inner, inner)
    if knob in names.get(whose, ()):
        return whose, knob
    knob = ALIASES.get(name, name)
    order = {"": CHOICES, **chosen.bare, "sweep": SWEEP_KNOBS}
    return next(((owner, knob) for owner, own in order.items() if knob in own), ("task", name))


def _written(whose: str, knob: str, chosen: _Chosen) -> str:
    """Return the name for a place: the bare one where `_place` reads it as that."""
    return knob if _place(knob, chosen) == (whose, knob) else f"{whose}.{knob}"


def _in_epochs(schedule: Schedule) -> dict[str, Hyper]:
    """Return the schedule's knobs in epochs, each with the Hyper of its fraction."""
    own = schedule.hypers
    return {name: own[fraction] for name, fraction in FRACTIONS.items() if fraction in own}


def _checks(chosen: _Chosen) -> dict[Place, Callable[[Any], str | None]]:
    """Return, for every place of an entry but the choices and the task, what is wrong there."""
    rule, schedule = chosen.rule, chosen.schedule
    average = "none" if chosen.average is None else chosen.average.name

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

    planned = {**schedule.hypers, **_in_epochs(schedule)}
    return {
        **{(rule.name, name): of_hyper(name, hyper) for name, hyper in rule.hypers.items()},
        **{(rule.name, name): of_switch(name, each) for name, each in rule.options.items()},
        **{(rule.name, name): lambda _: None for name in rule.free},
        **{(schedule.name, name): of_hyper(name, hyper) for name, hyper in planned.items()},
        **{(average, name): of_hyper(name, hyper) for name, hyper in chosen.average_hypers.items()},
        **{("sweep", name): count for name in SWEEP_KNOBS},
    }
