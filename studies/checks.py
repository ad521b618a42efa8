"""Is a study DB sound? Every check reads and changes nothing.

    schema       Optuna's version and ours are those of this program
    file         SQLite only: `PRAGMA integrity_check`
    orphans      every row has its study or trial (SQLite: `PRAGMA foreign_key_check` too)
    triggers     SQLite only: ours, which keep orphans from coming
    numbers      the trials of a study are numbered 0, 1, 2, ...
    values       a complete trial has its values; infinities are written as Optuna writes them
    running      a RUNNING trial of a sweep has a lease, and somebody works on the sweep
    sequences    PostgreSQL only: the next id of a table is a free one

A finding is a fault, or a note: something to know, which the next command may put right by itself.
A database with notes alone is sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from studies import check_rows, setup
from studies.check_rows import Finding, fault, note
from studies.database import check_file, explain, parse_url, shown
from studies.migrations import HEAD
from studies.reading import reading, said
from studies.versions import Versions, newer, no_studies, read_versions

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

__all__ = ["Check", "Finding", "Report", "check"]

_DAMAGE = ("malformed", "not a database", "disk i/o error", "corrupt")
_RESCUE = (
    "Go back to a copy, or save what can be read: sqlite3 OLD.db .recover | sqlite3 NEW.db, then "
    "sweeps storage check --storage sqlite:///NEW.db."
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Report:
    """What `check` found at `storage` (without its password)."""

    storage: str
    versions: Versions
    checks: tuple[Check, ...]

    @property
    def sound(self) -> bool:
        """Whether there is no fault; notes do not count."""
        return not any(f.level == "fault" for check in self.checks for f in check.findings)


def check(storage_url: str) -> Report:
    """Looks at the whole study DB at `storage_url`.

    Raises:
        UserError: there is no database to look at, or it holds no studies.
    """
    url = parse_url(storage_url)
    check_file(url, create=False)
    versions = Versions(None, None)
    try:
        with reading(url) as connection:
            versions = read_versions(connection)
            if versions.optuna is None:
                raise no_studies(url)
            checks = tuple(_checks(connection, url, versions))
    except DBAPIError as error:
        if not _damaged(error):
            raise explain(error, url) from error
        checks = (Check("file", (_damage(error, url),)),)
    return Report(shown(url), versions, checks)


def _checks(connection: Connection, url: URL, versions: Versions) -> Iterator[Check]:
    yield Check("schema", tuple(_schema(versions)))
    if connection.dialect.name == "sqlite":
        yield _looked(connection, url, "file", _file)
    # A table of another version may lack a column: then only the other checks can look.
    if versions.optuna == setup.OPTUNA_HEAD:
        ours = versions.sweeplane == HEAD
        yield _looked(connection, url, "orphans", lambda c: check_rows.orphans(c, ours=ours))
        if connection.dialect.name == "sqlite" and ours:
            yield Check("triggers", tuple(_triggers(versions)))
        yield _looked(connection, url, "numbers", check_rows.numbers)
        yield _looked(connection, url, "values", check_rows.values)
        if ours:
            yield _looked(connection, url, "running", check_rows.running)
        if connection.dialect.name == "postgresql":
            yield _looked(
                connection, url, "sequences", lambda c: check_rows.sequences(c, ours=ours)
            )


def _looked(
    connection: Connection, url: URL, name: str, look: Callable[[Connection], Iterator[Finding]]
) -> Check:
    try:
        return Check(name, tuple(look(connection)))
    except DBAPIError as error:
        if not _damaged(error):
            raise
        return Check(name, (_damage(error, url),))


def _damaged(error: DBAPIError) -> bool:
    return any(sign in str(error.orig).lower() for sign in _DAMAGE)


def _damage(error: DBAPIError, url: URL) -> Finding:
    return fault(f"the file cannot be read: {said(error, url)}", _RESCUE)


def _schema(versions: Versions) -> Iterator[Finding]:
    ahead = newer(versions)
    for name, problem in ahead:
        yield fault(
            f"written by a newer {name}: {problem}", f"pip install --upgrade {name.lower()}"
        )
    if ahead:
        return
    if versions.optuna != setup.OPTUNA_HEAD:
        yield fault(
            f"Optuna's schema is {versions.optuna}, and this version needs {setup.OPTUNA_HEAD}",
            "sweeps storage upgrade",
        )
    if versions.sweeplane is None:
        yield note(
            "Sweeplane's tables are not there: a plain Optuna database",
            "sweeps storage upgrade, or any other command, makes them",
        )
    elif versions.sweeplane != HEAD:
        yield note(
            f"Sweeplane's schema is {versions.sweeplane}, and this version has {HEAD}",
            "sweeps storage upgrade, or any other command, upgrades it",
        )


def _file(connection: Connection) -> Iterator[Finding]:
    lines = connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars().all()
    for line in lines:
        if line != "ok":
            yield fault(" ".join(line.split()), _RESCUE)


def _triggers(versions: Versions) -> Iterator[Finding]:
    for name in versions.missing_triggers:
        yield fault(
            f"the trigger {name} is missing: rows of ours would outlive a deleted trial or study",
            "sweeps storage upgrade makes it again; then check for orphans",
        )
