"""The built-in tasks as tests build them: those that read files, from small ones made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from image_folders import write_cifar10, write_mnist

from sweeps import Task
from sweeps.tasks import load_factory

WRITERS = {"mnist": write_mnist, "cifar10": write_cifar10}


def make_task(name: str, folder: Path, **arguments: Any) -> Task:
    """Return the task `name`; what it reads is written to `folder`."""
    if name in WRITERS:
        arguments["folder"] = str(WRITERS[name](folder))
    return load_factory(name, Path())(**arguments)


SMALL: dict[str, dict[str, Any]] = {
    "digits-mlp": {"hidden": 16},
    "digits-cnn": {"channels": 4},
    "char-lm": {"heads": 2, "head_width": 4, "context": 16},
    "char-lstm": {"hidden": 8, "embedding": 4, "context": 8},
    "cifar10": {"width": 2},
    "mnist": {"channels": 2},
}


def small_task(name: str, folder: Path, count: int) -> Task:
    """A task with a small model, on its first examples."""
    task = make_task(name, folder, **SMALL.get(name, {}))
    parts = {name: getattr(task, name) for name in ("train", "valid", "test")}
    return replace(task, **{name: tuple(x[:count] for x in part) for name, part in parts.items()})
