"""Has the task's code changed since the study was made? By a hash of the file that holds it.

The code itself is not in the study DB: it runs only where a user has put it. Modules that the file
imports are not looked at; of those the commit says more, which each worker leaves in the study DB.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.errors import UserError
from sweeps.tasks import source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sweeps.spec import Spec

CODE = "code"  # in a sweep's resolved spec: the hash, None for a built-in task


def code_file(spec: Spec) -> Path | None:
    """Return the file of the task, or of the script, that a sweep file names; None: built in."""
    program = spec.program
    if program is None:
        return source_of(spec.task, spec.path.parent)
    return None if program.program is None else program.folder / program.program


def code_hash(spec: Spec) -> str | None:
    """Return the SHA-256 of the code file's content; None where there is none that can be read."""
    file = code_file(spec)
    try:
        return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def has_drifted(stored: Mapping[str, Any], spec: Spec) -> bool:
    """Return whether the code is another than that of a study's resolved spec, `stored`."""
    return stored.get(CODE) is not None and stored[CODE] != code_hash(spec)


def refuse_drift(study: str, stored: Mapping[str, Any], spec: Spec) -> None:
    """Refuse code that is not the study's.

    Raises:
        UserError: it differs.
    """
    if has_drifted(stored, spec):
        raise UserError(
            f"study '{study}': {code_file(spec)} is not the code that the study was last run with "
            f"(SHA-256 {str(code_hash(spec))[:12]}, the study's is {str(stored[CODE])[:12]}), and "
            "trials of both would not compare. Copy that version here, or, if the change does not "
            "matter to the results, give --allow-code-drift"
        )
