"""The sweep service: sweep files, search spaces, engines, workers, tracking and the CLI.

    sweep.yaml -> spec -> space -> feed.take (Optuna ask, budget) -> engine
               -> feed.report (points -> study DB, prune?) -> feed.finish (Optuna tell) -> tracking

`Task` is what a user's own factory returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.tasks.task import Task

__all__ = ["Task"]


def __getattr__(name: str) -> object:
    if name == "Task":
        from sweeps.tasks.task import Task

        return Task
    raise AttributeError(f"module 'sweeps' has no attribute '{name}'")
