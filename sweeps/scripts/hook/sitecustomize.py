"""Python runs this when a trial's script starts: it lets the sweep hear what `wandb.log` gets.

The folder of this file is first in the script's PYTHONPATH, by which alone Python finds it. What
else is named `sitecustomize` runs as ever. Nothing of wandb is imported here: when the script
imports it, `sweeps_wandb` is told. It works with any Python from 3.8, in any environment.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_WATCHED = ("wandb.sdk.wandb_run", "wandb.sdk.wandb_summary")


class Watcher:
    """Finds wandb's modules as ever, and has each of `_WATCHED` changed once it is there."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _WATCHED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            import sweeps_wandb  # type: ignore[import-not-found]  # its folder is in sys.path

            sweeps_wandb.listen(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _run_the_other() -> None:
    """Run the `sitecustomize` that Python would have found without this one."""
    others = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("SWEEPS_REPORT"):
    sys.meta_path.insert(0, Watcher())
_run_the_other()
