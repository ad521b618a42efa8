"""The study DB: Optuna's tables and ours, in SQLite or PostgreSQL.

    storage.py    open_storage(url): an Optuna storage with writes of many trials at once
    sweep.py      the sweep of a study: what was asked for, where it stands
    runner.py     which process runs a sweep
    queries.py    named reads: leaderboard, curves, status
    schema.py     our tables; migrations/ their versions

A name is imported when it is first used: `from studies import UserError` loads no database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies import queries
    from studies.batches import Finish, Report
    from studies.errors import NoStudiesError, SweeplaneError, UserError
    from studies.runner import (
        Runner,
        acquire_runner,
        beat,
        get_runner,
        release_runner,
    )
    from studies.secrets import mask_passwords
    from studies.storage import StudyStorage, check_storage, open_storage
    from studies.sweep import (
        Sweep,
        SweepRecord,
        create_sweep,
        get_sweep,
        list_sweeps,
        set_status,
    )

__all__ = [
    "Finish",
    "NoStudiesError",
    "Report",
    "Runner",
    "StudyStorage",
    "Sweep",
    "SweepRecord",
    "SweeplaneError",
    "UserError",
    "acquire_runner",
    "beat",
    "check_storage",
    "create_sweep",
    "get_runner",
    "get_sweep",
    "list_sweeps",
    "mask_passwords",
    "open_storage",
    "queries",
    "release_runner",
    "set_status",
]

_MODULES = {
    "studies.batches": ("Finish", "Report"),
    "studies.errors": ("NoStudiesError", "SweeplaneError", "UserError"),
    "studies.runner": ("Runner", "acquire_runner", "beat", "get_runner", "release_runner"),
    "studies.secrets": ("mask_passwords",),
    "studies.storage": ("StudyStorage", "check_storage", "open_storage"),
    "studies.sweep": (
        "Sweep",
        "SweepRecord",
        "create_sweep",
        "get_sweep",
        "list_sweeps",
        "set_status",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "queries":
        return importlib.import_module("studies.queries")
    if name not in _HOME:
        raise AttributeError(f"module 'studies' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)
