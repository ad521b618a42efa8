"""The search space of a script: parameters by their path, passed on and not interpreted.

sampled (study DB)  {"optimizer.lr": 3e-3, "batch_size": 64}
ScriptConfig        params {"batch_size": 64, "optimizer": {"lr": 3e-3, "name": "adam"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.config import ScriptConfig
from sweeps.space.space import Knob, Space

SCRIPT = "script"
"""The kind of a script's knobs."""


@dataclass(frozen=True)
class ScriptKnob(Knob):
    """One parameter of a script; its `name` is its `path` with dots between."""

    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScriptSpace(Space):
    """Every parameter of a script, constants included. Nothing hangs on anything else."""

    knobs: tuple[ScriptKnob, ...]
    optimizers: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    averages: tuple[str, ...] = ()

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """What a task's sweep chooses from, which is nothing here."""
        return {}

    def config(
        self, sampled: Mapping[str, Any], *, epochs: int = 0, batch_size: int = 0
    ) -> ScriptConfig:
        """Return the parameters that sampled values stand for, constants among them."""
        return script_config({knob.path: knob.value(sampled) for knob in self.knobs})

    def encode(self, config: ScriptConfig) -> dict[str, Any] | None:
        """Return the sampled values of known parameters, None where they are not in the space."""
        sampled = {}
        try:
            for knob in self.knobs:
                coded = knob.distribution.encode(value_at(config.params, knob.path))
                if knob.searched:
                    sampled[knob.key] = coded
        except (ValueError, KeyError):
            return None
        return sampled


def script_config(values: Mapping[tuple[str, ...], Any]) -> ScriptConfig:
    """Return the parameters with the values at their paths, sorted by name at each level."""
    params: dict[str, Any] = {}
    for path in sorted(values):
        inner = params
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = values[path]
    return ScriptConfig(params)


def value_at(params: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path.

    Raises:
        KeyError: there is none.
    """
    for name in path:
        if not isinstance(params, Mapping):
            raise KeyError(name)
        params = params[name]
    return params
