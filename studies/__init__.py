"""The study DB: Optuna's tables and ours, in SQLite or PostgreSQL.

    storage.py    open_storage(url): an Optuna storage with writes of many trials at once
    sweep.py      the sweep of a study: what was asked for, where it stands
    workers.py    the processes that work on a sweep; leases.py gives them trials, holding.py keeps
                  them, fences.py refuses who lost them; roster.py: as others see them,
                  pulse.py: what they do
    control.py    pause, resume, stop, cancel; standing.py: a sweep's lock, clock and order
    settling.py   what dead workers left; claims.py: who trained what
    retrying.py   a lost database is waited for
    queries.py    named reads: leaderboard, curves, status; mirror.py: trials in memory
    checks.py     is it sound; versions.py, copying.py, deleting.py: upgrades, copies, deletes
    schema.py     our tables; migrations/ their versions

A name is imported when it is first used: `from studies import UserError` loads no database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies import queries
    from studies.batches import Drawn, Finish, Report
    from studies.claims import Attempt, attempts
    from studies.control import Ended, Given, break_loop, cancel_trials, current_order, give
    from studies.errors import GoneError, NoStudiesError, OutOfReachError, SweeplaneError, UserError
    from studies.holding import Holding
    from studies.leases import COUNTED, Claim, Lease, Points, claim
    from studies.roster import Worker, live_workers
    from studies.schema import CANCELLED
    from studies.secrets import mask_passwords
    from studies.standing import Order
    from studies.storage import StudyStorage, check_storage, open_storage
    from studies.sweep import (
        Sweep,
        SweepRecord,
        create_sweep,
        get_sweep,
        set_spec,
    )
    from studies.timing import LEASE_SECONDS
    from studies.workers import (
        Code,
        Registered,
        bury_dead,
        register,
        renew,
        sign_off,
    )

__all__ = [
    "CANCELLED",
    "COUNTED",
    "LEASE_SECONDS",
    "Attempt",
    "Claim",
    "Code",
    "Drawn",
    "Ended",
    "Finish",
    "Given",
    "GoneError",
    "Holding",
    "Lease",
    "NoStudiesError",
    "Order",
    "OutOfReachError",
    "Points",
    "Registered",
    "Report",
    "StudyStorage",
    "Sweep",
    "SweepRecord",
    "SweeplaneError",
    "UserError",
    "Worker",
    "attempts",
    "break_loop",
    "bury_dead",
    "cancel_trials",
    "check_storage",
    "claim",
    "create_sweep",
    "current_order",
    "get_sweep",
    "give",
    "live_workers",
    "mask_passwords",
    "open_storage",
    "queries",
    "register",
    "renew",
    "set_spec",
    "sign_off",
]

_MODULES = {
    "studies.claims": ("Attempt", "attempts"),
    "studies.batches": ("Drawn", "Finish", "Report"),
    "studies.control": (
        "Ended",
        "Given",
        "break_loop",
        "cancel_trials",
        "current_order",
        "give",
    ),
    "studies.errors": (
        "GoneError",
        "NoStudiesError",
        "OutOfReachError",
        "SweeplaneError",
        "UserError",
    ),
    "studies.holding": ("Holding",),
    "studies.leases": ("COUNTED", "Claim", "Lease", "Points", "claim"),
    "studies.roster": ("Worker", "live_workers"),
    "studies.schema": ("CANCELLED",),
    "studies.secrets": ("mask_passwords",),
    "studies.standing": ("Order",),
    "studies.storage": ("StudyStorage", "check_storage", "open_storage"),
    "studies.sweep": (
        "Sweep",
        "SweepRecord",
        "create_sweep",
        "get_sweep",
        "set_spec",
    ),
    "studies.timing": ("LEASE_SECONDS",),
    "studies.workers": (
        "Code",
        "Registered",
        "bury_dead",
        "register",
        "renew",
        "sign_off",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "queries":
        return importlib.import_module("studies.queries")
    if name not in _HOME:
        raise AttributeError(f"module 'studies' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)
