"""The built-in tasks as tests build them: those that read files, from small ones made here."""

from __future__ import annotations

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
