"""From a task file's `parameters` and the registries to a `Space`, with every name accounted for.

A name in `parameters` is, in this order: an optimizer's or a schedule's own knob (given bare, for
all that have it; or nested under the optimizer's or schedule's name, for that one only), a sweep
knob (`epochs`, `batch_size`), an argument of the task's factory. Where an optimizer and a schedule
have the same name, the bare one is the optimizer's. An average's knobs are always nested under its
name, and always have it in front (`swa.start`, `ema.decay`): alone, their names would not say whose
they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from optimizers import ALGORITHMS, AVERAGES, SCHEDULES, Algorithm, Hyper
from optimizers.spaces import with_decay
from sweeps.space import FRACTIONS, PRODUCT, Knob, Owner, Space
from sweeps.space.distributions import Categorical, Distribution, Float, Integer, OneMinusLog
from sweeps.space.quantiles import Weighted
from sweeps.space.values import is_number, same, value_text
from sweeps.spec.entries import Entries, Entry, instead_of
from sweeps.spec.faults import Faults, dotted, shown
from sweeps.spec.momentum import always_cycled

SWEEP_KNOBS = ("epochs", "batch_size")


@dataclass
class SpaceBuilder:
    """Builds the knobs of the chosen optimizers, schedules, averages and of the task."""

    entries: Entries
    faults: Faults
    grid: bool
    decay: str | None

    def build(
        self,
        optimizers: tuple[str, ...],
        schedules: tuple[str, ...],
        averages: tuple[str, ...],
        task_args: Mapping[str, Any],
        arguments: Iterable[str],
    ) -> Space:
        """Return the space; `arguments` are the names that `parameters` may give the factory."""
        several = len(optimizers) > 1
        own = [k for name in optimizers for k in self._optimizer(name, schedules, several)]
        names = {knob.name for knob in own}
        for name in schedules:
            own += self._schedule(name, names, prefixed=len(schedules) > 1)
        for name in averages:
            own += self._average(name)
        task = [
            Knob(name, Owner("task"), Categorical((value,)), "yours")
            for name, value in task_args.items()
        ]
        for name in task_args:
            self.entries.take("task", name)
        sweep = self._plain("sweep", SWEEP_KNOBS)
        task += self._plain("task", [a for a in arguments if a not in SWEEP_KNOBS])
        return Space((*sweep, *own, *task), optimizers, schedules, averages)

    def _plain(self, kind: str, names: Iterable[str]) -> list[Knob]:
        knobs = []
        for name in names:
            entry = self.entries.of.get((None, name))
            if entry is None or entry.used:
                continue
            entry.used = True
            if entry.distribution is None:
                continue
            bounds = entry.distribution.bounds()
            if kind == "sweep" and not (entry.distribution.whole() and bounds and bounds[0] >= 1):
                text = f"takes whole numbers of 1 or more, not {entry.distribution.describe()}"
                self.faults.add(entry.path, f"{dotted(entry.path)} {text}")
            knobs.append(Knob(name, Owner(kind), entry.distribution, "yours"))
        return knobs

    def _optimizer(self, which: str, schedules: tuple[str, ...], prefixed: bool) -> list[Knob]:
        rule = ALGORITHMS[which]
        owner = Owner("optimizer", which)
        prefix = f"{which}." if prefixed else ""
        hypers = dict(with_decay(rule, self.decay))
        knobs = []
        lr_x_wd = self.entries.take(which, PRODUCT)
        if lr_x_wd is not None and self._product_fits(rule, lr_x_wd):
            decay = hypers.pop("weight_decay")
            knobs.append(self._hyper(PRODUCT, decay, owner, prefix, lr_x_wd))
        cycled = always_cycled(which, schedules)
        knobs += [
            self._hyper(name, hyper, owner, prefix, self.entries.take(which, name))
            for name, hyper in hypers.items()
            if name != cycled
        ]
        if cycled:
            knobs.append(self._cycled(cycled, owner, prefix, schedules))
        for name, allowed in rule.options.items():
            entry = self.entries.take(which, name)
            if name in rule.switches or entry is not None:
                knobs.append(self._switch(name, allowed, owner, prefix, entry))
        knobs += self._free(rule, owner, prefix)
        knobs += self._decay(rule, owner, prefix)
        self._switches_fit(rule, knobs)
        return knobs

    def _cycled(self, name: str, owner: Owner, prefix: str, schedules: tuple[str, ...]) -> Knob:
        """Momentum or beta1 that the schedules set at every step: nothing to be searched."""
        entry = self.entries.take(owner.which, name)
        if entry is not None:
            text = f"{dotted(entry.path)}: {schedules[0]} sets {name} at every step"
            remedy = "give base_momentum and max_momentum in its place"
            self.faults.add(entry.path, f"{text}; {remedy}")
        top = SCHEDULES[schedules[0]].hypers["max_momentum"].default
        return Knob(name, owner, Categorical((top,)), "default", prefix)

    def _free(self, rule: Algorithm, owner: Owner, prefix: str) -> Iterator[Knob]:
        """The knobs that the file gives of a constructor's arguments that could be anything."""
        for name, required in rule.free.items():
            entry = self.entries.take(rule.name, name)
            if entry is None and required:
                text = f"optimizer {rule.name} needs '{name}', which has no default; give it"
                example = f"parameters: {{{rule.name}: {{parameters: {{{name}: ...}}}}}}"
                self.faults.add(("optimizer",), f"{text}: {example}")
            if entry is not None and entry.distribution is not None:
                static = entry.distribution.bounds() is None
                yield Knob(name, owner, entry.distribution, "yours", prefix, static=static)

    def _decay(self, rule: Algorithm, owner: Owner, prefix: str) -> list[Knob]:
        """The knob that the file's `decay` is, where it is not the algorithm's own."""
        searched = self.entries.take(rule.name, "decay")
        if self.decay is None or (self.decay == rule.decay and searched is None):
            return []
        if rule.decay is None:
            text = f"decay: {self.decay} is not for {rule.name}, whose weight decay is its own"
            self.faults.add(("decay",), f"{text}; leave decay out, or {rule.name}")
            return []
        if searched is not None:
            instead_of(searched.path, ("decay",), self.faults)
            return []
        return [Knob("decay", owner, Categorical((self.decay,)), "yours", prefix, static=True)]

    def _schedule(self, which: str, taken: Iterable[str], prefixed: bool) -> list[Knob]:
        owner = Owner("schedule", which)
        knobs = []
        for name, hyper in SCHEDULES[which].hypers.items():
            clash = name in taken
            prefix = f"{which}." if prefixed or clash else ""
            entry = self.entries.take(which, name, bare=not clash)
            in_epochs = next((e for e, fraction in FRACTIONS.items() if fraction == name), None)
            converted = self.entries.take(which, in_epochs) if in_epochs else None
            if in_epochs and converted is not None:
                if entry is not None:
                    instead_of(converted.path, entry.path, self.faults)
                knobs.append(self._hyper(in_epochs, hyper, owner, prefix, converted))
            else:
                knobs.append(self._hyper(name, hyper, owner, prefix, entry))
        return knobs

    def _average(self, which: str) -> list[Knob]:
        owner, own = Owner("average", which), AVERAGES[which].hypers if which != "none" else {}
        return [
            self._hyper(name, hyper, owner, f"{which}.", self.entries.take(which, name, bare=False))
            for name, hyper in own.items()
        ]

    def _hyper(
        self, name: str, hyper: Hyper, owner: Owner, prefix: str, entry: Entry | None
    ) -> Knob:
        if entry is None or entry.distribution is None:
            fixed = self.grid or not hyper.searched
            standard = Categorical((hyper.default,)) if fixed else default_distribution(hyper)
            return Knob(name, owner, standard, "default", prefix)
        problem = hyper_problem(name, hyper, entry.distribution)
        if problem:
            self.faults.add(entry.path, f"{dotted(entry.path)}: {problem}")
        return Knob(name, owner, entry.distribution, "yours", prefix)

    def _switch(
        self,
        name: str,
        allowed: tuple[object, ...],
        owner: Owner,
        prefix: str,
        entry: Entry | None,
    ) -> Knob:
        if entry is None or entry.distribution is None:
            return Knob(name, owner, Categorical((allowed[0],)), "default", prefix, static=True)
        values = _listed(entry.distribution) or (entry.distribution.describe(),)
        wrong = [value for value in values if not any(same(value, each) for each in allowed)]
        if wrong:
            given, choices = value_text(wrong[0]), ", ".join(map(value_text, allowed))
            text = f"{dotted(entry.path)}: {given} is not a value of {name}. Known: {choices}"
            self.faults.add(entry.path, text)
        return Knob(name, owner, entry.distribution, "yours", prefix, static=True)

    def _product_fits(self, rule: Algorithm, lr_x_wd: Entry) -> bool:
        where = dotted(lr_x_wd.path)
        entry = self.entries.take(rule.name, "decay")
        kinds = _listed(entry.distribution) if entry and entry.distribution else ()
        kind = next((k for k in kinds or (self.decay or rule.decay,) if k != "decoupled"), None)
        if kind is not None or rule.decay is None:
            named = {"l2": "L2", None: "its own"}.get(str(kind) if kind else None, kind)
            text = f"{where} needs decoupled weight decay, and {rule.name}'s is {named}"
            remedy = "give it to the decoupled optimizers only, or set decay: decoupled"
            self.faults.add(lr_x_wd.path, f"{text}; {remedy}")
            return False
        beside = self.entries.take(rule.name, "weight_decay")
        if beside is not None:
            instead_of(lr_x_wd.path, beside.path, self.faults)
        rate = self.entries.take(rule.name, "lr")
        bounds = rate.distribution.bounds() if rate and rate.distribution else None
        if rate and bounds and bounds[0] <= 0:
            self.faults.add(rate.path, f"{dotted(rate.path)} must be above 0 beside {PRODUCT}")
        return lr_x_wd.distribution is not None

    def _switches_fit(self, rule: Algorithm, knobs: list[Knob]) -> None:
        """Note a switch that some value of another knob rules out (nesterov without momentum)."""
        ranges = {knob.name: knob.distribution.bounds() for knob in knobs if not knob.static}
        extremes = [
            {name: ends[end] for name, ends in ranges.items() if ends and name in rule.hypers}
            for end in (0, 1)
        ]
        for knob in knobs:
            entry = self.entries.of.get(
                (rule.name, knob.name), self.entries.of.get((None, knob.name))
            )
            if not knob.static or knob.name not in rule.options or entry is None:
                continue
            for value, values in product(rule.options[knob.name], extremes):
                if value in _listed(knob.distribution):
                    self._switch_fits(rule.switched({knob.name: value}), values, entry, knob.name)

    def _switch_fits(
        self, rule: Algorithm, values: Mapping[str, float], entry: Entry, switch: str
    ) -> None:
        try:
            rule.check(values)
        except ValueError as error:
            if switch in str(error):
                self.faults.add(entry.path, f"{dotted(entry.path)}: {error}")


def _listed(distribution: Distribution) -> tuple[object, ...]:
    return distribution.values if isinstance(distribution, Categorical | Weighted) else ()


def default_distribution(hyper: Hyper) -> Distribution:
    """Return the distribution over a hyperparameter's own default range."""
    if hyper.integer:
        return Integer(int(hyper.low), int(hyper.high))
    if hyper.scale == "one_minus_log":
        return OneMinusLog(hyper.low, hyper.high)
    return Float(hyper.low, hyper.high, log=hyper.scale == "log")


def hyper_problem(name: str, hyper: Hyper, distribution: Distribution) -> str | None:
    """Return what is wrong with a distribution for this hyperparameter, None if nothing is."""
    bounds = distribution.bounds()
    if bounds is None:
        odd = [value for value in _listed(distribution) if not is_number(value)]
        return f"{name} takes numbers, not {shown(odd[0]) if odd else distribution.describe()}"
    try:
        for bound in bounds:
            hyper.check(name, bound)
    except ValueError as error:
        return str(error)
    if hyper.integer and not distribution.whole():
        return f"{name} takes whole numbers, not {distribution.describe()}"
    return None
