"""The workloads that ship with Sweeplane, by name, and how any task's factory is found.

A factory is a function that returns a `Task`; its keyword arguments are what a sweep file may
set in `task_args` or search in `parameters`. Reading a factory's signature never imports torch
for a built-in task, so a wrong sweep file is refused at once.

A function whose first parameter is named `trial` is no factory: it trains by itself, one call a
trial (`sweeps.engines.function`). Nothing else tells the two apart.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, TypeVar

from optimizers.names import closest
from studies.errors import UserError

if TYPE_CHECKING:
    from sweeps.tasks.task import Task

Factory = Callable[..., "Task"]
HANDLE = "trial"
"""The first parameter of a function that trains by itself."""
_T = TypeVar("_T")

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "char-lm": "sweeps.tasks.text:char_lm",
        "char-lstm": "sweeps.tasks.text:char_lstm",
        "cifar10": "sweeps.tasks.images:cifar10",
        "digits-cnn": "sweeps.tasks.builtin:digits_cnn",
        "digits-mlp": "sweeps.tasks.builtin:digits_mlp",
        "exp-curve": "sweeps.tasks.builtin:exp_curve",
        "iris-mlp": "sweeps.tasks.builtin:iris_mlp",
        "mnist": "sweeps.tasks.images:mnist",
    }
)
"""Task name -> `module:factory`. To add a task: one factory, one line here."""


def load_factory(ref: str, base: Path) -> Factory:
    """Return the factory that `ref` names: built in, `module:factory` or `path/to/file.py:factory`.

    A relative file path is looked up in `base`, the sweep file's folder. The file's own folder is
    put on `sys.path` for its imports, as `python file.py` does.

    Raises:
        UserError: the name is unknown, or the import failed; with its traceback's last line.
    """
    target = TASKS.get(ref, ref)
    module_name, separator, attribute = target.rpartition(":")
    if not separator:
        raise UserError(_unknown(ref))
    if module_name.endswith(".py"):
        module = _import_file(ref, (base / module_name).resolve())
    else:
        module = _import_module(ref, module_name, base)
    try:
        factory = getattr(module, attribute)
    except AttributeError:
        functions = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value)
            and value.__module__ == module.__name__
            and not name.startswith("_")
        ]
        raise UserError(
            f"task '{ref}': {module_name} has no '{attribute}'{_nearest(attribute, functions)} "
            f"Its functions: {', '.join(functions) or 'none'}"
        ) from None
    if not callable(factory):
        raise UserError(
            f"task '{ref}': '{attribute}' is a {type(factory).__name__}, not a function that "
            f"returns a sweeps.Task, nor one that takes a `{HANDLE}` and trains by itself"
        )
    return factory  # type: ignore[no-any-return]  # a user's module is untyped


def trains_itself(function: Callable[..., object]) -> bool:
    """Return whether a task's function takes a trial, and so is no factory."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return (
        first is not None
        and first.name == HANDLE
        and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    )


def source_of(ref: str, base: Path) -> Path | None:
    """Return the file that holds the factory `ref`, which was loaded before; None: built in."""
    module = ref.rpartition(":")[0]
    if ref in TASKS or not module:
        return None
    if module.endswith(".py"):
        return (base / module).resolve()
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else Path(file)


def _import_file(ref: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"task '{ref}': there is no file {path}")
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"sweeplane_task_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"task '{ref}': {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    loader = spec.loader
    try:
        _reported(ref, lambda: loader.exec_module(module))
    except UserError:
        del sys.modules[name]
        raise
    return module


def _import_module(ref: str, name: str, base: Path) -> ModuleType:
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    return _reported(ref, lambda: importlib.import_module(name))


def _reported(ref: str, load: Callable[[], _T]) -> _T:
    """Run `load`; whatever the user's code raises becomes a UserError with its last line."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        last = traceback.format_exception_only(error)[-1].strip()
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "importlib" not in frame.filename][-1]
        raise UserError(
            f"task '{ref}' cannot be imported: {last} ({own.filename}, line {own.lineno})"
        ) from error


def _unknown(ref: str) -> str:
    return (
        f"task '{ref}' is unknown{_nearest(ref, TASKS)} Built in: {', '.join(TASKS)}. "
        "Your own: 'package.module:factory' or 'path/to/file.py:factory'"
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    near = closest(name, known)
    return f"; did you mean '{near}'?" if near else "."
