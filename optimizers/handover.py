"""`HandOver`: an optimizer of another library under its dotted name, for the serial engine only.

What is searched of it is what the sweep file gives: its constructor says which arguments there are,
not in what range they make sense.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from optimizers.hyper import Hyper, check_choice, check_hypers
from optimizers.names import lookup
from optimizers.rule import Rule
from optimizers.rules import RULES

if TYPE_CHECKING:
    from torch.optim.optimizer import Optimizer, ParamsT


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """A `torch.optim.Optimizer` subclass, `path` = `module.Class`, as sweeps see an algorithm.

    `tuples` are constructor arguments that hold several knobs: betas = (beta1, beta2). `free` are
    those of which the constructor does not say what they take (a text, None, no default), with
    whether one must be given; whatever the sweep file gives is passed on. `decay` is None: what its
    weight decay means is its own affair.
    """

    name: str
    path: str
    paper: str = field(compare=False)
    hypers: Mapping[str, Hyper] = field(compare=False)
    switches: Mapping[str, tuple[object, ...]] = field(default_factory=dict, compare=False)
    tuples: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    free: Mapping[str, bool] = field(default_factory=dict, compare=False)
    decay: None = None

    @property
    def options(self) -> Mapping[str, tuple[object, ...]]:
        """Every static switch and its allowed values."""
        return self.switches

    @property
    def class_name(self) -> str:
        """The class's own name."""
        return self.path.rpartition(".")[2]

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The constructor's parameters."""
        return inspect.signature(_imported(self.path)).parameters

    def switched(self, switches: Mapping[str, object]) -> HandOver:
        """This optimizer with other static switches.

        Raises:
            ValueError: a switch that it has not, or a value that it does not allow.
        """
        for switch, value in switches.items():
            if switch in self.free:
                continue
            check_choice(switch, value, lookup(self.switches, f"{self.name}'s switch", switch))
        return self

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        """Refuse hyperparameters that there are not, or values outside of a knob's range.

        Raises:
            ValueError: names the argument, its value and the valid range.
        """
        own = {name: value for name, value in values.items() if name not in self.free}
        check_hypers(self.name, self.hypers, own, argument)

    def build(
        self, params: ParamsT, hypers: Mapping[str, float], switches: Mapping[str, object]
    ) -> Optimizer:
        """The optimizer itself; a missing value is the constructor's own default."""
        self.switched(switches).check(hypers)
        optimizer: Optimizer = _imported(self.path)(params, **self.arguments(hypers, switches))
        return optimizer

    def arguments(
        self, hypers: Mapping[str, float], switches: Mapping[str, object]
    ) -> dict[str, Any]:
        """The constructor's arguments that these knobs mean."""
        packed = {knob: key for key, knobs in self.tuples.items() for knob in knobs}
        given = {
            name: int(value) if name in self.hypers and self.hypers[name].integer else value
            for name, value in hypers.items()
        }
        arguments: dict[str, Any] = {}
        for name, value in given.items():
            key = packed.get(name, name)
            knobs = self.tuples.get(key, ())
            whole = tuple(given.get(knob, self.hypers[knob].default) for knob in knobs)
            arguments[key] = whole if knobs else value
        return arguments | {n: None if v == "none" else v for n, v in switches.items()}


# torch's defaults, but for the line search, which sweeps make unless told otherwise: on batches of
# digits-mlp 12 of 20 trials of the range diverged without it, and 1 of 8 with it. lr 1 is the
# Newton step. max_iter and history_size bound the work of one step.
LBFGS = HandOver(
    name="lbfgs",
    path="torch.optim.LBFGS",
    paper="Liu & Nocedal 1989, On the limited memory BFGS method; torch's own class",
    hypers={
        "lr": Hyper(1.0, 1e-2, 1.0, "log"),
        "max_iter": Hyper(20, 1, 50, searched=False, integer=True, at_least=1),
        "history_size": Hyper(100, 1, 200, searched=False, integer=True, at_least=1),
        "tolerance_grad": Hyper(1e-7, 1e-12, 1e-3, "log", searched=False),
        "tolerance_change": Hyper(1e-9, 1e-12, 1e-3, "log", searched=False),
    },
    switches={"line_search_fn": ("strong_wolfe", "none")},
)

Algorithm = Rule | HandOver

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ABOUT_KERNELS = ("maximize", "foreach", "fused", "capturable", "differentiable")


class _Algorithms(Mapping[str, Algorithm]):
    """Every algorithm by name; a name with a dot is imported when it is asked for."""

    def __init__(self) -> None:
        self._own: dict[str, Algorithm] = {**RULES, LBFGS.name: LBFGS}

    def __getitem__(self, name: str) -> Algorithm:
        return self._own[name] if name in self._own else _foreign(name)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or name in self._own:
            return isinstance(name, str)
        try:
            return bool(_foreign(name))
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


def why_unknown(name: str) -> str | None:
    """What is wrong with a dotted name; None for one without a dot, or with nothing wrong."""
    try:
        ALGORITHMS[name]
    except KeyError as error:
        return str(error.args[0]) if "." in name else None
    return None


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@cache
def _foreign(name: str) -> HandOver:
    """The optimizer class with this dotted name.

    Raises:
        KeyError: there is none; the message says what is missing.
    """
    if "." not in name:
        raise KeyError(name)
    if not all(name.split(".")):
        raise KeyError(f"{name} is not a module's name, a dot and a class's")
    try:
        cls = _imported(name)
    except Exception as error:  # whatever the module raises as it is imported
        said = str(error) or type(error).__name__
        raise KeyError(f"{name} cannot be imported: {said}") from error
    from torch.optim import Optimizer

    if not (inspect.isclass(cls) and issubclass(cls, Optimizer)):
        raise KeyError(f"{name} is not a subclass of torch.optim.Optimizer")
    return _read(name, cls)


def _read(name: str, cls: Any) -> HandOver:
    hypers: dict[str, Hyper] = {}
    switches: dict[str, tuple[object, ...]] = {}
    tuples: dict[str, tuple[str, ...]] = {}
    free: dict[str, bool] = {}
    for key, parameter in list(inspect.signature(cls).parameters.items())[1:]:
        value = parameter.default
        if key in _ABOUT_KERNELS or parameter.kind in _REST:
            continue
        if isinstance(value, bool):
            switches[key] = (value, not value)
        elif _is_number(value):
            hypers[key] = _knob(value, whole=isinstance(value, int) and value > 1)
        elif isinstance(value, tuple) and value and all(map(_is_number, value)):
            stem = "beta" if key == "betas" else key
            tuples[key] = tuple(f"{stem}{i + 1}" for i in range(len(value)))
            hypers |= dict(zip(tuples[key], map(_knob, value), strict=True))
        else:
            free[key] = value is parameter.empty
    return HandOver(
        name=name,
        path=name,
        paper=(inspect.getdoc(cls) or name).splitlines()[0],
        hypers=hypers,
        switches=switches,
        tuples=tuples,
        free=free,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _knob(value: float, *, whole: bool = False) -> Hyper:
    """A constructor's number: any value is passed on, and none is searched unasked."""
    return Hyper(value, value, value, searched=False, integer=whole, at_least=-math.inf)


ALGORITHMS: Mapping[str, Algorithm] = _Algorithms()
"""Every algorithm by name: the rules, what is handed over to torch, and any dotted name."""
