"""The root of every error that Sweeplane raises on purpose.

    SweeplaneError          exit code 1: ours, or the machine's
    ├── OutOfReachError     the database was lost for longer than is waited for
    ├── GoneError           the study was deleted meanwhile
    └── UserError           exit code 2: something the user can mend; the message says how
        └── NoStudiesError  the database has no studies yet

Only `sweeps.cli` catches them; it prints the message without a traceback.
"""

from __future__ import annotations


class SweeplaneError(Exception):
    """A failure that ends the command; `exit_code` is the process's exit code."""

    exit_code = 1


class OutOfReachError(SweeplaneError):
    """The database did not answer for longer than `studies.retrying` waits."""


class UserError(SweeplaneError):
    """A mistake in what the user gave: where, what was given, what is allowed, what to do."""

    exit_code = 2


class GoneError(SweeplaneError, KeyError):
    """A study, or something of it, is not there any more; a `KeyError`, as Optuna has it."""

    __str__ = Exception.__str__  # a KeyError's is quoted


class NoStudiesError(UserError):
    """The database at a storage URL does not exist yet, or has no studies' tables."""
