"""What becomes of a study DB that fails, or a study that vanishes, below a running command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.launch import OpenSweep

# What the driver says -> what to do. The first that matches counts.
_ADVICE = (
    ("full", "Free some space"),
    ("no space", "Free some space"),
    ("readonly", "Make the file and its folder writable"),
    ("read-only", "Make the database writable"),
    ("disk i/o", "See whether its disk is full, read-only or broken"),
    ("locked", "Another process holds it; end that or wait for it"),
    ("", "See whether it runs and can be reached"),
)


def refusal(error: Exception) -> str | None:
    """Return what a failing database means to the user; None for every other error."""
    from sqlalchemy.exc import InternalError, OperationalError

    from studies import mask_passwords

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OperationalError | InternalError):
        cause = cause.__cause__  # Optuna wraps what its own storage meets
    if cause is None:
        return None
    said = mask_passwords(" ".join(str(cause.orig).split()))
    advice = next(text for sign, text in _ADVICE if sign in said.lower())
    return (
        f"the study DB failed: {said}. {advice}, then run the same command again: nothing that "
        "finished is lost"
    )


@contextmanager
def while_it_exists(sweep: OpenSweep) -> Iterator[None]:
    """Say in one line that a study was deleted while the body worked on it.

    Raises:
        UserError: it was.
    """
    from studies import UserError, get_sweep

    try:
        yield
    except KeyError as error:
        found = get_sweep(sweep.storage, name := sweep.study.study_name)
        if found is not None and found.study_id == sweep.study_id:
            raise
        raise UserError(
            f"study '{name}' was deleted from {sweep.storage} while this process worked on it. "
            "`sweeps run FILE` begins it anew"
        ) from error
