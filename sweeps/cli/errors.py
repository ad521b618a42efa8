"""How an error is told, and what becomes of a study DB that fails below a running command."""

from __future__ import annotations

import click


def tell(error: str) -> None:
    """Say on standard error why this process ends: in words, or as a line of its JSON logs."""
    from sweeps import logs

    if logs.tells_errors:
        logs.log.error(error)
    else:
        click.echo(f"Error: {error}", err=True)


def refusal(error: Exception) -> str | None:
    """Return what a failing database means to the user; None for every other error."""
    from sqlalchemy.exc import InternalError, OperationalError

    from studies import mask_passwords
    from studies.database import advice

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OperationalError | InternalError):
        cause = cause.__cause__  # Optuna wraps what its own storage meets
    if cause is None:
        return None
    said = mask_passwords(" ".join(str(cause.orig).split()))
    return (
        f"the study DB failed: {said}. {advice(said)}, then run the same command again: nothing "
        "that finished is lost"
    )
