"""What becomes of a study DB that fails below a running command."""

from __future__ import annotations

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
