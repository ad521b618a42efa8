"""Which schema a study DB has, Optuna's and ours, and how both become those of this version."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.storages import RDBStorage
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from studies import migrations, schema, setup
from studies.database import check_file, engine_options, explain, make_engine, parse_url, shown
from studies.errors import NoStudiesError, SweeplaneError, UserError
from studies.reading import reading
from studies.roster import held_studies, in_words

if TYPE_CHECKING:
    from sqlalchemy import URL

OPTUNA_TABLE = "alembic_version"
_BEFORE_ALEMBIC = "before v0.9.0.a"


@dataclass(frozen=True)
class Versions:
    """The schema of a study DB; None where it has no such tables."""

    optuna: str | None
    sweeplane: str | None
    missing_triggers: tuple[str, ...] = ()  # SQLite only

    @property
    def current(self) -> bool:
        """Whether it is that of this version."""
        heads = (setup.OPTUNA_HEAD, migrations.HEAD)
        return (self.optuna, self.sweeplane) == heads and not self.missing_triggers


def read_versions(connection: Connection) -> Versions:
    """The schema of the database at `connection`; it may be of any version, or empty."""
    existing = set(inspect(connection).get_table_names())
    optuna = None
    if "studies" in existing:
        optuna = _version(connection, OPTUNA_TABLE, existing) or _BEFORE_ALEMBIC
    missing: tuple[str, ...] = ()
    if connection.dialect.name == "sqlite" and migrations.VERSION_TABLE in existing:
        found = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        there = set(connection.scalars(found))
        missing = tuple(name for name in schema.TRIGGERS if name not in there)
    return Versions(
        optuna=optuna,
        sweeplane=_version(connection, migrations.VERSION_TABLE, existing),
        missing_triggers=missing,
    )


def _version(connection: Connection, table: str, existing: set[str]) -> str | None:
    if table not in existing:
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {table}"))
    return found


def refuse_newer(url: URL, versions: Versions) -> None:
    """Refuses a database whose schema this version does not know.

    Raises:
        UserError: it was written by a newer Sweeplane or Optuna.
    """
    for name, problem in newer(versions):
        raise UserError(
            f"storage '{shown(url)}' was written by a newer {name}: {problem}. "
            f"Run pip install --upgrade {name.lower()}."
        )


def newer(versions: Versions) -> list[tuple[str, str]]:
    """Whose schema is newer than this version, and in what: (Sweeplane or Optuna, words)."""
    found = []
    if versions.sweeplane is not None and versions.sweeplane not in migrations.REVISIONS:
        known = f"{migrations.REVISIONS[0]} to {migrations.HEAD}"
        found.append(
            ("Sweeplane", f"its schema is {versions.sweeplane}, and this one knows {known}")
        )
    if versions.optuna not in (None, setup.OPTUNA_HEAD) and versions.optuna not in _of_optuna():
        found.append(
            (
                "Optuna",
                f"its schema is {versions.optuna}, and this one knows up to {setup.OPTUNA_HEAD}",
            )
        )
    return found


def _of_optuna() -> set[str]:
    """Every schema version that the installed Optuna can upgrade from."""
    import optuna.storages._rdb as rdb
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(rdb.__file__).parent / "alembic"))
    return {_BEFORE_ALEMBIC, *(script.revision for script in scripts.walk_revisions())}


def upgrade(storage_url: str, *, create: bool = False) -> tuple[Versions, Versions]:
    """Brings Optuna's tables and ours to this version; the same again does nothing.

    `open_storage` upgrades our tables by itself and leaves an old schema of Optuna's alone; this
    upgrades that too, by Optuna's own migrations.

    Args:
        storage_url: the study DB.
        create: make the tables of a database without studies too.

    Returns:
        The versions before and after.

    Raises:
        UserError: the database, one without studies (unless `create`), a newer one, or one that a
            live worker uses.
        SweeplaneError: a migration failed.
    """
    url = parse_url(storage_url)
    check_file(url, create=create)
    before, held = _found(url)
    if before.optuna is None and not create:
        raise no_studies(url)
    refuse_newer(url, before)
    if before.current:
        return before, before
    if held:  # `sweeps stop` would begin the upgrade
        raise UserError(
            f"storage '{shown(url)}': {held}. An upgrade changes the tables below it: stop it "
            "there with Ctrl-C first."
        )
    if before.optuna not in (None, setup.OPTUNA_HEAD):
        _upgrade_optuna(url)
    engine = make_engine(url)
    try:
        setup.prepare(url, engine, create=create)
        with engine.connect() as connection:
            return before, read_versions(connection)
    finally:
        engine.dispose()


def _found(url: URL) -> tuple[Versions, str]:
    """The versions of a database, and who works on it now, in words; empty: nobody."""
    try:
        with reading(url) as connection:
            held = held_studies(connection)
            return read_versions(connection), in_words(held) if held else ""
    except DBAPIError as error:
        raise explain(error, url) from error


def no_studies(url: URL) -> NoStudiesError:
    """The error for a database without Optuna's tables."""
    return NoStudiesError(
        f"storage '{shown(url)}' holds no studies. "
        "Start one with `sweeps run FILE`, or give another --storage."
    )


def _upgrade_optuna(url: URL) -> None:
    address = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    options = {**engine_options(url), "poolclass": NullPool}
    quiet, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(quiet)  # or Optuna's migrations set up logging of their own, on stderr
    try:
        RDBStorage(address, options, skip_compatibility_check=True).upgrade()
    except DBAPIError as error:
        cause = explain(error, url)
        raise SweeplaneError(f"Optuna's upgrade failed. {cause}") from error
    finally:
        root.removeHandler(quiet)
