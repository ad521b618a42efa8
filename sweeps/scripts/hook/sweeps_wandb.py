"""What a script logs to W&B's library, reported to the sweep: one value a row of its history.

A row is what W&B's library makes of `Run.log`: calls add to it until one commits it, which is each
call without `step` unless `commit=False`, and with a `step` one that says `commit=True` or has a
later step. A row with the sweep's metric is one value of the trial's curve. `run.summary[metric]`
is its last word. Runs that a script begins without the sweep's environment are not heard, for W&B
counts them as others. Whatever goes wrong here is the sweep's loss and never the script's.

Source: `wandb.sdk.wandb_run.Run.log` and its documentation.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
from contextlib import suppress
from types import ModuleType
from typing import Any

_CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "reporting.py")
_METRIC = os.environ.get("SWEEPS_METRIC", "")
_SWEEP = os.environ.get("WANDB_SWEEP_ID", "")


def _load_client() -> Any:
    spec = importlib.util.spec_from_file_location("_sweeps_reporting", _CLIENT)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module.Line()


_line = _load_client()


class History:
    """The rows of one run."""

    def __init__(self, step: int) -> None:
        self._step, self._row = step, {}  # type: int, dict[str, float]
        self.summary: dict[str, float] = {}  # said since the row has the metric

    def log(self, data: Any, step: int | None, commit: bool | None) -> None:
        """Add to the row, as `Run.log` does."""
        if step is not None:
            if step < self._step:  # W&B's library drops it, with a warning
                return
            if step > self._step:
                self.commit()
                self._step = step
        numbers = _numbers(data)
        self._row.update(numbers)
        if _METRIC in numbers:
            self.summary = {}
        if commit or (commit is None and step is None):
            self.commit()
            self._step += 1

    def commit(self) -> None:
        """Report the row, if there is something in it."""
        row, self._row = self._row, {}
        if row:
            _tell({**row, "step": self._step}, summary=False)
        if self.summary:
            _tell(self.summary, summary=True)


_histories: dict[int, History] = {}


def listen(module: ModuleType) -> None:
    """Hear what the classes of a module of W&B's library are given from now on."""
    if module.__name__.endswith("wandb_init"):
        module.init = _offline(module.init)  # type: ignore[attr-defined]
    elif module.__name__.endswith("wandb_run"):
        _after(module.Run, "log", _logged)
        _before(module.Run, "finish", lambda run: _end(id(run)))
        atexit.register(_end_all)
    else:
        _after(module.Summary, "update", _summarized)


def _offline(init: Any) -> Any:
    """Return W&B's `init`, offline whatever the script says, unless it wants nothing of it."""

    @functools.wraps(init)
    def offline(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("mode") != "disabled":
            kwargs["mode"] = "offline"
        return init(*args, **kwargs)

    return offline


def _logged(
    run: Any, data: Any, step: int | None = None, commit: bool | None = None, *_: Any, **__: Any
) -> None:
    if run.sweep_id != _SWEEP:
        return
    if id(run) not in _histories:
        _histories[id(run)] = History(int(getattr(run, "starting_step", 0) or 0))
    _histories[id(run)].log(data, step, commit)


def _end(run: int) -> None:
    """Commit the last row, as W&B's library does at the end of a run."""
    history = _histories.pop(run, None)
    if history is not None:
        history.commit()


def _end_all() -> None:
    for run in list(_histories):
        _end(run)


def _summarized(summary: Any, values: Any = None, *_: Any, **__: Any) -> None:
    if summary._update_callback.__self__.sweep_id != _SWEEP:
        return
    said = {name: value for name, value in _numbers(values or {}).items() if name == _METRIC}
    if said:
        for history in _histories.values():
            history.summary = said
        _tell(said, summary=True)


def _numbers(data: Any) -> dict[str, float]:
    """Return the numbers of a row by name, those of inner mappings as `outer.inner`."""
    found = {}
    for name, value in data.items():
        if isinstance(value, dict):
            found.update({f"{name}.{inner}": each for inner, each in _numbers(value).items()})
        elif not isinstance(value, (str, bytes)):
            try:
                found[name] = float(value)
            except Exception:  # an image, a table, anything
                continue
    return found


def _tell(values: dict[str, float], *, summary: bool) -> None:
    with suppress(ValueError):  # the sweep says in the trial's stderr.log what it refuses
        _line.tell({"values": _kept(values), "summary": summary})


def _kept(values: dict[str, float]) -> dict[str, float]:
    """Return the values with names that the sweep takes: see `sweeps.scripts.messages`."""
    return {
        name: value for name, value in values.items() if 0 < len(name) <= 200 and name.isprintable()
    }


def _after(owner: Any, name: str, then: Any) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(self, *args, **kwargs)
        _try(then, self, *args, **kwargs)
        return found

    setattr(owner, name, method)


def _before(owner: Any, name: str, first: Any) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        _try(first, self)
        return original(self, *args, **kwargs)

    setattr(owner, name, method)


def _try(call: Any, *args: Any, **kwargs: Any) -> None:
    with suppress(Exception):  # it is about a script that somebody else wrote
        call(*args, **kwargs)
