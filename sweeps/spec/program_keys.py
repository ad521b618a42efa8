"""The keys of a program file: which there are, and their values as a `ProgramFile`.

What W&B's files have beside these is named and passed over; what would change the sweep without
anyone noticing (another tool's key, a misspelled one, W&B Launch) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from optimizers.names import closest
from studies import mask_passwords
from sweeps.scripts.macros import MACROS
from sweeps.scripts.program import DEFAULT_COMMAND, EXIT_CODE
from sweeps.space.values import is_int, is_number
from sweeps.spec.faults import Faults, dotted, nearest, shown
from sweeps.spec.foreign import foreign
from sweeps.spec.keys import merge_cap, refuse_objectives, validated
from sweeps.spec.models import EarlyTerminate, Metric, SweepFile, words

OWN_KEYS = (
    *("program", "command", "working_directory", "env", "metrics_file", "trials_per_device"),
    *("name", "description", "method", "metric", "baseline", "enqueue", "early_terminate"),
    *("budget", "seed", "device", "workers", "storage", "tracking"),
)
"""The keys that a `ProgramFile` reads; `parameters` and `run_cap` become other things."""

PASSED_OVER = ("project", "entity", "settings", "controller", "apiVersion", "kind")
"""W&B's keys that mean nothing here."""

_LAUNCH = (
    *("image_uri", "job", "queue", "resource", "resource_args", "launch", "scheduler"),
    *("registry", "template_variables"),
)
_IMPUTED = ("impute", "impute_while_running")
_SECRET = re.compile(
    r"(?i)(password|passwd|passphrase|secret|credential|api_?key)s?$|token$"
    r"|(^|_)(key|pass|auth|pat)$|_pwd$"  # PWD itself is a folder
)
_INSTEAD = {
    "repeats": "a script seeds itself: give it a seed under parameters",
    "lanes": "trials_per_device says how many trials run at once",
    "task_args": "give them to the script under parameters",
    "precision": "a script computes as it likes",
    "compile": "a script computes as it likes",
    "compare": "fair races are not there yet in this version",
}
_STORED = (
    "which would stand in the study DB and in what others see of it; set a variable in the"
    " environment of the workers:"
)
_TEXTS = "words of a command: a list such as [python, train.py, '${args}']"


def storable(text: str) -> bool:
    """Return whether databases and command lines can have the text: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def has_password(text: str) -> bool:
    """Return whether the text has a URL with a password, which would be stored and shown."""
    return mask_passwords(text) != text


def _text(what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or not value.strip() or not storable(value):
            raise words(f"{what} is {shown(value)}; give text")
        return value

    return BeforeValidator(check)


def _command(value: Any) -> Any:
    """Words as W&B takes them: what is not text becomes what `str` makes of it."""
    if not isinstance(value, list | tuple) or not value:
        raise words(f"command is {shown(value)}; give the {_TEXTS}")
    wrong = [word for word in value if not isinstance(word, str | int | float)]
    wrong += [word for word in value if isinstance(word, str) and not storable(word)]
    if wrong:
        raise words(f"command has {shown(wrong[0])}; give the {_TEXTS}")
    if any(has_password(str(word)) for word in value):
        raise words(f"command has a password in it, {_STORED} ${{envvar:NAME}} stands for it")
    return tuple(map(str, value))


def _env(value: Any) -> Any:
    """Names to text; a number is its text."""
    if not isinstance(value, Mapping):
        raise words(f"env is {shown(value)}; give a mapping of names to text")
    for name, each in value.items():
        if not name or "=" in name or not storable(name):
            raise words(f"env has the name {shown(name)}; no variable can have it")
        if not (isinstance(each, str) and storable(each)) and not is_number(each):
            raise words(f"env.{name} is {shown(each)}; give text, in quotes")
        if _SECRET.search(name) or has_password(str(each)):
            raise words(f"env.{name} is a secret, {_STORED} every trial has that too")
    return {name: str(each) for name, each in value.items()}


def _at_once(value: Any) -> Any:
    if not is_int(value) or value < 1:
        raise words(f"trials_per_device is {shown(value)}; give a whole number of 1 or more")
    return value


class ScriptMetric(Metric):
    """The objective: a name that the script reports."""

    name: Annotated[str, _text("metric.name")]


class ProgramFile(SweepFile):
    """Every key of a program file, resolved; those of a task file only are at their defaults."""

    task: str = ""
    metric: ScriptMetric
    baseline: dict[str, Any] | None = Field(default=None)
    early_terminate: EarlyTerminate = EarlyTerminate(type="none")
    program: Annotated[str | None, _text("program")] = None
    command: Annotated[tuple[str, ...], BeforeValidator(_command)] = DEFAULT_COMMAND
    working_directory: Annotated[str | None, _text("working_directory")] = None
    env: Annotated[dict[str, str], BeforeValidator(_env)] = Field(default_factory=dict)
    metrics_file: Annotated[str | None, _text("metrics_file")] = None
    trials_per_device: Annotated[int, BeforeValidator(_at_once)] = 1


def sift(data: Mapping[str, Any], faults: Faults) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the keys to read, and the names of those that are passed over.

    A known key without a value is an absent one.
    """
    known = (*OWN_KEYS, "parameters", "run_cap")
    kept: dict[str, Any] = {}
    passed: list[str] = []
    for name, value in data.items():
        if name in known:
            kept |= {} if value is None else {name: value}
            continue
        problem = _refusal(name, known)
        if problem is None:
            passed.append(name)
        else:
            faults.add((name,), problem)
    metric = kept.get("metric")
    if isinstance(metric, Mapping):
        passed += [f"metric.{name}" for name in _IMPUTED if name in metric]
        kept["metric"] = {name: each for name, each in metric.items() if name not in _IMPUTED}
    return kept, tuple(passed)


def _refusal(name: str, known: tuple[str, ...]) -> str | None:
    if name in PASSED_OVER:
        return None
    if name in _LAUNCH:
        text = f"{name} is a key of W&B Launch or of its custom schedulers, which are not here"
        return f"{text}; give program or command, and a method"
    if name in SweepFile.model_fields or name in _INSTEAD:
        remedy = _INSTEAD.get(name, f"give it to the script: parameters: {{{name}: ...}}")
        return f"{name} is a key of task files, which train a model here; {remedy}"
    if closest(name, known) is not None:
        return f"key {shown(name)} is unknown{nearest(name, known)}"
    return foreign(name)


def read_program_keys(data: Mapping[str, Any], path: Path, faults: Faults) -> ProgramFile | None:
    """Return the typed keys, with every fault put into words."""
    own = {name: value for name, value in data.items() if name != "parameters"}
    own["name"] = own.get("name") or path.stem
    refuse_objectives(own, faults)
    metric = own.setdefault("metric", {"name": EXIT_CODE})
    needs = None if "metric" in data else _needs_metric(own)
    if needs is not None:
        example = "metric: {name: val_loss, goal: minimize}"
        faults.add(
            (), f"metric is missing, which {needs} needs: what the script reports. {example}"
        )
    if isinstance(metric, Mapping) and "name" not in metric:
        faults.add(("metric",), "metric.name is missing: what the script reports, such as val_loss")
        own["metric"] = {**metric, "name": "missing"}
    if own.get("method") == "custom":
        text = "method: custom is a search of W&B's own servers or of your code"
        faults.add(("method",), f"{text}; give tpe, bayes, random, grid, cmaes or qmc")
        del own["method"]
    merge_cap(own, faults)
    stop = own.get("early_terminate")
    if isinstance(stop, Mapping):
        own["early_terminate"] = _as_wandb(stop)
        _check_stopper(stop, faults)
    elif stop == "hyperband":
        _check_stopper({"type": stop}, faults)
    for place, text in _together(own):
        faults.add(place, text)
    return validated(ProgramFile, own, faults, any_metric=True)


def _needs_metric(own: Mapping[str, Any]) -> str | None:
    """Return what cannot do without a metric, as a sweep that tries everything can."""
    method = own.get("method", "tpe")
    if method not in ("random", "grid", "qmc", "custom"):
        return f"method {method}" if isinstance(method, str) else None
    return "early_terminate" if own.get("early_terminate", "none") != "none" else None


def _as_wandb(stop: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return W&B's hyperband as W&B reads it: max_iter and s come before min_iter.

    `strict` is off where it is absent, as W&B's documentation has it; the schema of its package
    sweeps 0.3.0 says otherwise.
    """
    both = stop.get("type") == "hyperband" and {"min_iter", "max_iter", "s"} <= stop.keys()
    return {name: each for name, each in stop.items() if not (both and name == "min_iter")}


def _check_stopper(stop: Mapping[str, Any], faults: Faults) -> None:
    if stop.get("type") == "hyperband" and not {"min_iter", "max_iter"} & stop.keys():
        text = "early_terminate: nobody knows how often a script reports, so hyperband needs"
        remedy = "min_iter, or max_iter and s; asha needs neither"
        faults.add(("early_terminate",), f"{text} {remedy}")


def _together(own: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong with the command, and with keys that are right one by one."""
    command = own.get("command", ())
    for index, word in enumerate(command if isinstance(command, list) else ()):
        name = word[2:-1] if isinstance(word, str) and re.fullmatch(r"\$\{.*\}", word) else None
        if name is None or name.startswith("envvar:"):
            continue
        place = ("command", index)
        if name not in MACROS:
            known = ", ".join(f"${{{each}}}" for each in (*MACROS, "envvar:NAME"))
            near = nearest(name, MACROS) or "."
            yield place, f"{dotted(place)}: the macro {shown(word)} is unknown{near} Known: {known}"
        elif name == "program" and "program" not in own:
            yield place, f"{dotted(place)} is ${{program}}, and there is no program; give one"
    file = own.get("metrics_file")
    if isinstance(file, str) and "{trial}" not in file:
        text = "metrics_file: trials that run at once, of any worker, would write into one file"
        yield ("metrics_file",), f"{text}; put {{trial}} into its name"
