"""The keys of a task file as frozen models: types, ranges, defaults.

What needs more than one key (names in `parameters`, the task's arguments) is checked in
`sweeps.spec`. The checks written here raise a `words` error whose text is the whole message;
`sweeps.spec.keys` puts into words what pydantic itself finds (a wrong type, an unknown key).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from optimizers import ALGORITHMS, AVERAGES, SCHEDULES
from optimizers.handover import why_unknown
from optimizers.rule import DECAYS
from sweeps.durations import seconds_of
from sweeps.space.values import is_finite, is_int
from sweeps.spec.faults import shown, unknown

AVERAGE_NAMES = ("none", *AVERAGES)
METHODS = ("tpe", "random", "grid", "gp", "cmaes", "qmc")
STOPPERS = {
    "asha": ("min_epochs", "eta"),
    "hyperband": ("min_epochs", "eta", "min_iter", "max_iter", "s", "strict"),
    "median": ("min_epochs", "startup_trials"),
    "percentile": ("min_epochs", "startup_trials", "percentile"),
    "patience": ("min_epochs", "patience"),
    "none": (),
}
"""Pruner -> the keys of `early_terminate` that it reads."""


def words(text: str) -> PydanticCustomError:
    """Return a validation error whose message is `text` and nothing else."""
    return PydanticCustomError("words", "{text}", {"text": text})


def _one_of(what: str, names: Iterable[str], later: Iterable[str] = ()) -> BeforeValidator:
    known, coming = tuple(names), tuple(later)

    def check(value: Any) -> Any:
        if value not in known:
            raise words(unknown(what, value, known, coming))
        return value

    return BeforeValidator(check)


def _algorithm(value: Any) -> Any:
    """An optimizer of the registry, or a class by its dotted name."""
    if isinstance(value, str) and value in ALGORITHMS:
        return value
    reason = why_unknown(value) if isinstance(value, str) else None
    if reason:
        raise words(f"optimizer {shown(value)}: {reason}")
    raise words(unknown("optimizer", value, ALGORITHMS))


def _listed(what: str) -> BeforeValidator:
    """One name or a list of them -> a tuple."""

    def check(value: Any) -> Any:
        names = value if isinstance(value, list | tuple) else [value]
        if not names:
            raise words(f"{what} is an empty list; give one name or more")
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise words(f"{what} has {shown(twice[0])} twice")
        return tuple(names)

    return BeforeValidator(check)


def _number(what: str, low: float, *, whole: bool = False, above: bool = False) -> BeforeValidator:
    allowed = "a whole number" if whole else "a number"
    if low > -math.inf:
        allowed += f" above {low:g}" if above else f" of {low:g} or more"

    def check(value: Any) -> Any:
        fits = is_int(value) if whole else is_finite(value)
        if not fits or value < low or (above and value == low):
            raise words(f"{what} is {shown(value)}; give {allowed}")
        return value

    return BeforeValidator(check)


def _count(what: str, low: int = 1) -> BeforeValidator:
    return _number(what, low, whole=True)


def _seed(value: Any) -> Any:
    """A whole number that the study DB's integer column holds, PostgreSQL's too."""
    if not is_int(value) or not 0 <= value < 2**31:
        raise words(f"seed is {shown(value)}; give a whole number from 0 to {2**31 - 1}")
    return value


def _count_or_auto(what: str) -> BeforeValidator:
    """A whole number of 1 or more, or `auto` -> None."""

    def check(value: Any) -> Any:
        if value == "auto":
            return None
        if not is_int(value) or value < 1:
            raise words(f"{what} is {shown(value)}; give auto or a whole number of 1 or more")
        return value

    return BeforeValidator(check)


def _seconds(what: str) -> BeforeValidator:
    """`90s`, `30m`, `4h`, `2d` or several of them (`1h30m`) -> seconds."""

    def check(value: Any) -> Any:
        seconds = seconds_of(value) if isinstance(value, str) else None
        if seconds is None:
            raise words(f"{what} is {shown(value)}; give a time with its unit: 90s, 30m, 4h or 2d")
        return seconds

    return BeforeValidator(check)


def _auto_or_count(what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value == "auto" or (is_int(value) and value >= 1):
            return value
        raise words(f"{what} is {shown(value)}; give auto or a whole number of 1 or more")

    return BeforeValidator(check)


def _text(what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or not value.strip():
            raise words(f"{what} is {shown(value)}; give text")
        return value

    return BeforeValidator(check)


def _matches(what: str, pattern: str, allowed: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise words(f"{what} is {shown(value)}; give {allowed}")
        return value

    return BeforeValidator(check)


def _auto_or_flag(value: Any) -> Any:
    if value not in ("auto", True, False):
        raise words(f"compile is {shown(value)}; give auto, true or false")
    return value


def _curve(value: Any, info: ValidationInfo) -> Any:
    """A metric's name, of a curve that exists: the test set is not for choosing.

    What a function that trains by itself calls it is its own affair.
    """
    if isinstance(value, str) and value.strip() and (info.context or {}).get("any_metric"):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"(train|valid)/.+", value):
        hint = "give a curve: valid/loss, valid/accuracy, train/loss, ..."
        raise words(f"metric.name is {shown(value)}; {hint}")
    return value


def _known(value: Any) -> Any:
    """The baseline: a mapping, or `false` or `none` for no baseline (None)."""
    if value is False or value == "none":
        return None
    if not isinstance(value, Mapping):
        raise words(f"baseline is {shown(value)}; give a mapping of names to values, or false")
    return dict(value)


class Model(BaseModel):
    """A part of the sweep file; unknown keys are errors, nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Metric(Model):
    """The objective: a curve's best or last value; `target` ends the sweep once reached."""

    name: Annotated[str, BeforeValidator(_curve)] = "valid/loss"
    goal: Annotated[str, _one_of("metric.goal", ("minimize", "maximize"))] = "minimize"
    target: Annotated[float | None, _number("metric.target", -math.inf)] = None
    take: Annotated[str, _one_of("metric.take", ("best", "last"))] = "best"

    @model_validator(mode="before")
    @classmethod
    def _not_a_bare_name(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            shape = f"{{name: {raw}, goal: minimize}} (or maximize)"
            raise words(f"metric is {shown(raw)}; give {shape}")
        return raw


class Budget(Model):
    """When the sweep ends, whichever comes first; times in seconds, None = no limit."""

    trials: Annotated[int, _count("budget.trials")] = 100
    time: Annotated[float | None, _seconds("budget.time")] = None
    gpu_hours: Annotated[float | None, _number("budget.gpu_hours", 0, above=True)] = None
    trial_time: Annotated[float | None, _seconds("budget.trial_time")] = None
    failures: Annotated[int, _count("budget.failures")] = 20


class EarlyTerminate(Model):
    """Which trials end early; `min_epochs` None = auto: 10 % of the epochs, after warmup."""

    type: Annotated[str, _one_of("early_terminate.type", STOPPERS)] = "asha"
    min_epochs: Annotated[int | None, _count_or_auto("early_terminate.min_epochs")] = None
    eta: Annotated[float, _number("early_terminate.eta", 1, above=True)] = 3
    startup_trials: Annotated[int, _count("early_terminate.startup_trials", 0)] = 5
    percentile: Annotated[float, _number("early_terminate.percentile", 0, above=True)] = 25.0
    patience: Annotated[int, _count("early_terminate.patience")] = 5
    min_iter: Annotated[int | None, _count("early_terminate.min_iter")] = None
    max_iter: Annotated[int | None, _count("early_terminate.max_iter")] = None
    s: Annotated[int | None, _count("early_terminate.s")] = None
    strict: Annotated[bool, Strict()] = False

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, raw: Any) -> Any:
        return {"type": raw} if isinstance(raw, str) else raw


class SweepFile(Model):
    """Every key of a task file, resolved; None for epochs and batch_size = the task's own."""

    name: Annotated[str, _text("name")]
    description: Annotated[str, _text("description")] = ""
    task: Annotated[str, _text("task")]
    task_args: dict[str, Any] = Field(default_factory=dict)
    method: Annotated[str, _one_of("method", (*METHODS, "bayes"), ("nsga2",))] = "tpe"
    metric: Metric = Metric()
    optimizer: Annotated[
        tuple[Annotated[str, BeforeValidator(_algorithm)], ...], _listed("optimizer")
    ] = ("adamw",)
    schedule: Annotated[
        tuple[Annotated[str, _one_of("schedule", SCHEDULES)], ...], _listed("schedule")
    ] = ("cosine",)
    average: Annotated[
        tuple[Annotated[str, _one_of("average", AVERAGE_NAMES)], ...], _listed("average")
    ] = ("none",)
    decay: Annotated[str | None, _one_of("decay", DECAYS)] = None
    epochs: Annotated[int | None, _count("epochs")] = None
    batch_size: Annotated[int | None, _count("batch_size")] = None
    baseline: Annotated[dict[str, Any] | None, BeforeValidator(_known)] = Field(
        default_factory=dict
    )
    enqueue: tuple[dict[str, Any], ...] = ()
    early_terminate: EarlyTerminate = EarlyTerminate()
    budget: Budget = Budget()
    seed: Annotated[int, BeforeValidator(_seed)] = 0
    repeats: Annotated[int, _count("repeats")] = 1
    device: Annotated[
        str, _matches("device", r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")
    ] = "auto"
    lanes: Annotated[int | str, _auto_or_count("lanes")] = "auto"
    precision: Annotated[str, _one_of("precision", ("float32", "float64", "bf16"))] = "float32"
    compile: Annotated[bool | str, BeforeValidator(_auto_or_flag)] = "auto"
    workers: Annotated[int | str, _auto_or_count("workers")] = "auto"
    storage: Annotated[str, _text("storage")] = "sqlite:///sweeps.db"
    tracking: Annotated[str, _text("tracking")] = "sqlite:///mlflow.db"
