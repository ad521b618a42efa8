"""One trial's configuration, in effective values: what an engine trains and what a user reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

_TITLE = 60  # characters

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Config:
    """Every knob of one trial with its effective value (`beta1`, never `one_minus_beta1`).

    `switches` are the optimizer's static switches (`nesterov`, ...); `task_args` are the factory's
    keyword arguments that the sweep file sets or searches. `average` is `none` or the name of one,
    whose knobs are `average_hypers`.
    """

    optimizer: str
    hypers: Mapping[str, float]
    switches: Mapping[str, str | bool]
    schedule: str
    schedule_hypers: Mapping[str, float]
    average: str
    epochs: int
    batch_size: int
    task_args: Mapping[str, Any] = field(default_factory=dict)
    average_hypers: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What was chosen, as people call it: `adamw x cosine`, `adamw x cosine x swa`."""
        average = () if self.average == "none" else (self.average,)
        return " x ".join((self.optimizer, self.schedule, *average))

    def flat(self) -> dict[str, Scalar]:
        """Return one name -> scalar mapping, as MLflow and the leaderboard show it.

        A name that an earlier owner has already taken gets its own owner's in front
        (`plateau.threshold`, `task.lr`), an average's knobs always do (`swa.start`); a value that
        is not a scalar becomes its JSON text.
        """
        flat: dict[str, Scalar] = {"optimizer": self.optimizer, **self.hypers, **self.switches}
        flat["schedule"] = self.schedule
        flat |= _apart(self.schedule_hypers, self.schedule, flat)
        flat["average"] = self.average
        flat |= {f"{self.average}.{name}": value for name, value in self.average_hypers.items()}
        flat |= {"epochs": self.epochs, "batch_size": self.batch_size}
        return flat | _apart(self.task_args, "task", flat)

    def to_json(self) -> dict[str, Any]:
        """Return the nested, JSON-able form that `from_json` reads back: not to be changed."""
        return {**vars(self)}  # `asdict` copies what is below, for longer than a trial is drawn

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Config:
        """Read back what `to_json` wrote; what it did not write yet has its default."""
        return cls(**stored)


@dataclass(frozen=True)
class ScriptConfig:
    """The parameters of one trial of a script, with their effective values.

    `params` is what the script gets: sorted by name as W&B sorts them, a nested parameter as a dict
    inside its parent's name.
    """

    params: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The first parameters in one short line: `batch_size=32, lr=0.01`."""
        words = ", ".join(f"{name}={value}" for name, value in self.flat().items())
        line = "".join(each if each.isprintable() else " " for each in words)
        return line if len(line) <= _TITLE else f"{line[: _TITLE - 3]}..."

    @property
    def epochs(self) -> float:
        """How many reports there are at most: a script says itself when it ends."""
        return inf

    def flat(self) -> dict[str, Scalar]:
        """Return one name -> scalar mapping; a nested parameter's name is `outer.inner`."""
        return dict(_leaves(self.params))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form that `from_json` reads back."""
        return {"params": self.params}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScriptConfig:
        """Read back what `to_json` wrote."""
        return cls(stored["params"])


AnyConfig = Config | ScriptConfig


def read_config(stored: Mapping[str, Any]) -> AnyConfig:
    """Read back what `to_json` of either kind wrote."""
    kind = ScriptConfig if "params" in stored else Config
    return kind.from_json(stored)


def scalar(value: Any) -> Scalar:
    """Return a scalar as it is, anything else as its JSON text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, sort_keys=True)


def _apart(values: Mapping[str, Any], owner: str, taken: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {
        f"{owner}.{name}" if name in taken else name: scalar(value)
        for name, value in values.items()
    }


def _leaves(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", scalar(value)
