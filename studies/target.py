"""The database that a copy goes to: empty before, and as it was after a failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from studies import schema, setup, tables, transfer
from studies.database import explain, make_engine, shown, writing
from studies.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_FILES = ("", "-wal", "-shm", "-journal")


class Fresh:
    """Remembers what the target was, to leave it so after a failure."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url, self._engine = url, engine
        self._file = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
        self._new_file = self._file is not None and not self._file.exists()
        self._new_tables = False

    def prepare(self) -> None:
        """Creates the tables of a study DB, or upgrades them.

        Raises:
            UserError: it cannot be opened, is newer, or belongs to another program.
        """
        try:
            with self._engine.connect() as connection:
                existing = set(inspect(connection).get_table_names())
        except DBAPIError as error:
            raise explain(error, self._url) from error
        if "studies" not in existing and transfer.version_tables()[0].name in existing:
            raise UserError(
                f"'{shown(self._url)}' belongs to another program: it has an alembic_version and "
                "no studies. Give an empty database."
            )
        self._new_tables = not existing & {table.name for table in transfer.data_tables()}
        setup.prepare(self._url, self._engine, create=True)

    def discard(self) -> None:
        """Takes away the file or the tables that `prepare` made, unless rows are in them."""
        if not (self._new_file or self._new_tables) or (self._file and not self._file.exists()):
            return
        engine = make_engine(self._url)
        try:
            with writing(engine).begin() as connection:
                if _filled(connection):
                    return
                if not self._new_file:
                    _drop(connection)
        finally:
            engine.dispose()
        if self._file is not None and self._new_file:
            for ending in _FILES:
                Path(f"{self._file}{ending}").unlink(missing_ok=True)


def lock_empty(connection: Connection, url: URL) -> None:
    """Refuses a target that holds something, and keeps others from writing to it until the end.

    Raises:
        UserError: it holds rows.
    """
    names = [table.name for table in transfer.data_tables()]
    if connection.dialect.name == "postgresql":  # on SQLite, BEGIN IMMEDIATE has it locked
        connection.execute(text(f"LOCK TABLE {', '.join(names)} IN SHARE ROW EXCLUSIVE MODE"))
    filled = _filled(connection)
    if filled:
        raise UserError(
            f"'{shown(url)}' is not empty: {', '.join(filled)} hold rows, and a copy keeps its "
            "ids. Give an empty database."
        )


def _filled(connection: Connection) -> list[str]:
    existing = set(inspect(connection).get_table_names())
    return [
        f"{table.name} ({count:,})"
        for table in transfer.data_tables()
        if table.name in existing and table.name != transfer.VERSION_INFO
        if (count := transfer.count(connection, table))
    ]


def _drop(connection: Connection) -> None:
    schema.metadata.drop_all(connection)
    tables.studies.metadata.drop_all(connection)
    for table in transfer.version_tables():
        table.drop(connection, checkfirst=True)
    if connection.dialect.name == "postgresql":
        connection.execute(text("DROP FUNCTION IF EXISTS sweeplane_trial_deleted"))
