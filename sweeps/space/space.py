"""The search space: which values a trial may take, and which of them depend on which.

The choice of optimizer, schedule and average comes first (the branching categoricals, present
where there is more than one); each chosen one brings its own knobs. With several optimizers their
keys carry the prefix `adamw.`, with several schedules `cosine.`; an average's always carry its own.

    sampled (study DB)  {"optimizer": "adamw", "adamw.lr": 3e-3, "adamw.one_minus_beta1": 0.1, ...}
    Config (effective)  optimizer adamw, hypers {"lr": 3e-3, "beta1": 0.9, "eps": 1e-8, ...}, ...

Two knobs stand for another: `lr_x_wd` is searched in place of `weight_decay = lr_x_wd / lr`, and
`step_epochs` in place of `step_fraction = min(1, step_epochs / epochs)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from sweeps.config import Config, Scalar
from sweeps.space.distributions import Distribution
from sweeps.space.values import tidy

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

PRODUCT = "lr_x_wd"
"""The knob that searches the product of learning rate and weight decay."""

FRACTIONS: Mapping[str, str] = {"step_epochs": "step_fraction"}
"""Schedule knobs in epochs -> the hyperparameter, a fraction of the trial, that they stand for."""


class Owner(NamedTuple):
    """Whose knob it is: `kind` is a choice (optimizer, schedule, average), task or sweep; `which`
    is the chosen one's name.
    """

    kind: str
    which: str = ""


@dataclass(frozen=True)
class Knob:
    """One thing that can be set: a hyperparameter, a static switch, a task's argument.

    `source` is "yours" where the sweep file says something, else "default"; `prefix` is "adamw."
    where several optimizers (or schedules) are in the space, always for an average's; `static`
    marks a switch.
    """

    name: str
    owner: Owner
    distribution: Distribution
    source: str = "default"
    prefix: str = ""
    static: bool = False

    @property
    def label(self) -> str:
        """The knob's name with its prefix, as people read it: `adamw.beta1`."""
        return self.prefix + self.name

    @property
    def key(self) -> str:
        """The name of the sampled value in the study DB: `adamw.one_minus_beta1`."""
        return self.prefix + self.distribution.sampled_name(self.name)

    @property
    def searched(self) -> bool:
        """Whether it is a dimension: a single value is not."""
        return not self.distribution.single

    def value(self, sampled: Mapping[str, Any]) -> Any:
        """Return the effective value, given a trial's sampled values."""
        if self.searched:
            return self.distribution.effective(sampled[self.key])
        return self.distribution.first()

    def listed(self) -> dict[str, Any]:
        """Return what people and programs ask of a knob, JSON-able; `owner` is adamw, task, ..."""
        return {
            "name": self.name,
            "label": self.label,
            "kind": self.owner.kind,
            "owner": self.owner.which or self.owner.kind,
            "searched": self.searched,
            "source": self.source,
            "describe": self.distribution.describe(),
            "distribution": self.distribution.to_json(),
        }


@dataclass(frozen=True)
class Space:
    """Every knob of a sweep, constants included, and the choices that they hang on."""

    knobs: tuple[Knob, ...]
    optimizers: tuple[str, ...]
    schedules: tuple[str, ...]
    averages: tuple[str, ...] = ("none",)

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """What may be chosen for optimizer, schedule and average."""
        return {
            "optimizer": self.optimizers,
            "schedule": self.schedules,
            "average": self.averages,
        }

    @property
    def branching(self) -> tuple[str, ...]:
        """The names of the choices that are dimensions: those with more than one value."""
        return tuple(name for name, values in self.choices.items() if len(values) > 1)

    def flat(self) -> dict[str, BaseDistribution]:
        """Return every dimension, active or not: key in the study DB -> Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution

        flat: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(self.choices[name]) for name in self.branching
        }
        return flat | {k.key: k.distribution.optuna() for k in self.knobs if k.searched}

    def active(self, choices: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys of the dimensions that exist under `choices`, branching ones first."""
        knobs = self.active_knobs(choices)
        return (*self.branching, *(knob.key for knob in knobs if knob.searched))

    def active_knobs(self, choices: Mapping[str, Any]) -> tuple[Knob, ...]:
        """Return the knobs, constants included, that exist under `choices`."""
        chosen = self._chosen(choices)
        return tuple(
            knob
            for knob in self.knobs
            if chosen.get(knob.owner.kind, knob.owner.which) == knob.owner.which
        )

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw one point through the trial's public `suggest_*`; return the sampled values."""
        sampled: dict[str, Any] = {
            name: trial.suggest_categorical(name, self.choices[name]) for name in self.branching
        }
        for knob in self.active_knobs(sampled):
            if knob.searched:
                sampled[knob.key] = _suggest(trial, knob.key, knob.distribution.optuna())
        return sampled

    def config(self, sampled: Mapping[str, Any], *, epochs: int, batch_size: int) -> Any:
        """Return the `Config` that sampled values stand for, every knob filled.

        `epochs` and `batch_size` are the sweep's or the task's own; a knob of that name wins.
        """
        chosen = self._chosen(sampled)
        values: dict[str, dict[str, Any]] = {
            "hypers": {}, "switches": {}, "schedule": {}, "average": {}, "task": {}, "sweep": {}
        }  # fmt: skip
        for knob in self.active_knobs(sampled):
            values[_room(knob)][knob.name] = knob.value(sampled)
        epochs = values["sweep"].get("epochs", epochs)
        return Config(
            **chosen,
            hypers=with_weight_decay(values["hypers"]),
            switches=values["switches"],
            schedule_hypers=with_fractions(values["schedule"], epochs),
            epochs=epochs,
            batch_size=values["sweep"].get("batch_size", batch_size),
            task_args=values["task"],
            average_hypers=values["average"],
        )

    def encode(self, config: Any) -> dict[str, Any] | None:
        """Return the sampled values of a known `Config`, None where it is not in the space.

        Epochs and batch size are compared only where they are knobs.
        """
        if any(getattr(config, name) not in values for name, values in self.choices.items()):
            return None
        sampled: dict[str, Any] = {name: getattr(config, name) for name in self.branching}
        knobs = self.active_knobs({name: getattr(config, name) for name in self.choices})
        arguments = {knob.name for knob in knobs if knob.owner.kind == "task"}
        switches = {knob.name for knob in knobs if knob.static}
        if arguments != set(config.task_args) or switches != set(config.switches):
            return None
        try:
            for knob in knobs:
                coded = knob.distribution.encode(_read(config, knob))
                if knob.searched:
                    sampled[knob.key] = coded
        except (ValueError, KeyError):
            return None
        return sampled

    def size(self) -> int | None:
        """Return the number of points, or None where a dimension is continuous."""
        total = 0
        for branch in self._branches():
            grids = [knob.distribution.grid() for knob in self.active_knobs(branch)]
            total += math.prod(0 if grid is None else len(grid) for grid in grids)
            if None in grids:
                return None
        return total

    def grid(self) -> list[dict[str, Any]]:
        """Return the sampled values of every point, the last knob varying fastest.

        Raises:
            ValueError: a dimension is continuous.
        """
        if self.size() is None:
            names = [knob.label for knob in self.knobs if knob.distribution.grid() is None]
            raise ValueError(f"no grid over continuous {', '.join(names)}")
        return [point for branch in self._branches() for point in self._points(branch)]

    def signature(self) -> dict[str, Any]:
        """Return what makes two spaces the same, JSON-able, to compare with a stored one."""
        knobs = {knob.label: knob.distribution.to_json() for knob in self.knobs}
        return {**{name: list(values) for name, values in self.choices.items()}, "knobs": knobs}

    def listed(self) -> list[dict[str, Any]]:
        """Return every knob as `Knob.listed` has it, constants included."""
        return [knob.listed() for knob in self.knobs]

    def _chosen(self, choices: Mapping[str, Any]) -> dict[str, str]:
        return {name: choices.get(name, values[0]) for name, values in self.choices.items()}

    def _branches(self) -> Iterator[dict[str, str]]:
        for names in product(*self.choices.values()):
            yield dict(zip(self.choices, names, strict=True))

    def _points(self, branch: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        start = {name: branch[name] for name in self.branching}
        knobs = [knob for knob in self.active_knobs(branch) if knob.searched]
        codes = [
            [knob.distribution.encode(value) for value in knob.distribution.grid() or ()]
            for knob in knobs
        ]
        for point in product(*codes):
            yield start | {knob.key: code for knob, code in zip(knobs, point, strict=True)}


def with_weight_decay(hypers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hypers with `lr_x_wd`, if there, replaced by `weight_decay = lr_x_wd / lr`."""
    own = dict(hypers)
    if PRODUCT in own:
        own["weight_decay"] = own.pop(PRODUCT) / own["lr"]
    return own


def with_fractions(hypers: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Return a schedule's hypers with `step_epochs`, if there, replaced by its fraction."""
    return {
        FRACTIONS.get(name, name): min(1.0, value / epochs) if name in FRACTIONS else value
        for name, value in hypers.items()
    }


def _room(knob: Knob) -> str:
    if knob.owner.kind == "optimizer":
        return "switches" if knob.static else "hypers"
    return knob.owner.kind


def _read(config: Config, knob: Knob) -> Any:
    if knob.owner.kind == "sweep":
        return getattr(config, knob.name)
    if knob.owner.kind == "task":
        return config.task_args[knob.name]
    if knob.owner.kind == "average":
        return config.average_hypers[knob.name]
    if knob.owner.kind == "schedule":
        if knob.name in FRACTIONS:
            return tidy(config.schedule_hypers[FRACTIONS[knob.name]] * config.epochs)
        return config.schedule_hypers[knob.name]
    if knob.name == PRODUCT:
        return tidy(config.hypers["lr"] * config.hypers["weight_decay"])
    return (config.switches if knob.static else config.hypers)[knob.name]


def _suggest(trial: optuna.Trial, key: str, distribution: BaseDistribution) -> Scalar:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(key, distribution.low, distribution.high)
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
    raise TypeError(f"no suggest call for {distribution}")
