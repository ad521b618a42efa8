"""Makes the tables of a study DB those of this version, and Optuna's storage on them.

Optuna creates and migrates its own schema; ours follows by Alembic. Two processes may do it at
once: the one that loses finds a table, a type or a version row that exists already, or a lock,
and looks again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from studies import migrations, schema
from studies.database import engine_options, explain, shown, writing
from studies.errors import NoStudiesError, UserError
from studies.retrying import opening

if TYPE_CHECKING:
    from sqlalchemy import URL

OPTUNA_HEAD = "v3.2.0.a"  # Optuna's schema in 5.0: a newer one only costs the full check
RACE_SECONDS = 10.0  # how long others may keep making the same tables
_RACES = ("already exists", "unique", "locked", "deadlock", "concurrently")


class Inner:
    """Optuna's storage and the engine below it.

    `with inner as storage:` marks this thread's transactions as writing ones.
    """

    def __init__(self, rdb: RDBStorage) -> None:
        self.storage: BaseStorage = rdb
        self._rdb = rdb
        self._thread = threading.local()
        if rdb.engine.dialect.name == "sqlite":
            event.listen(rdb.engine, "begin", self._begin)

    def _begin(self, connection: Connection) -> None:
        immediate = getattr(self._thread, "writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    def __enter__(self) -> BaseStorage:
        self._thread.writing = True
        return self.storage

    def __exit__(self, *_: object) -> None:
        self._thread.writing = False

    def remove_session(self) -> None:
        """Returns this thread's connection to the pool."""
        self._rdb.remove_session()

    def close(self) -> None:
        """Closes every connection."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()


def open_inner(url: URL) -> Inner:
    """Optuna's storage at `url`, whose tables are there and current."""
    return Inner(_rdb_storage(url, engine_options(url, limits=True), current=True))


def _create_optuna_tables(url: URL) -> None:
    # Without a pool: when it fails, nobody could close the connections of Optuna's engine.
    try:
        _rdb_storage(url, {**engine_options(url), "poolclass": NullPool}, current=False)
    except RuntimeError as error:
        raise UserError(f"storage '{shown(url)}': {error}") from error


def _rdb_storage(url: URL, options: dict[str, Any], *, current: bool) -> RDBStorage:
    # Optuna logs each new study at INFO, on stderr.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.WARNING)
    # Optuna passes the URL through `str.format`.
    text_url = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    return RDBStorage(
        text_url, options, skip_compatibility_check=current, skip_table_creation=current
    )


def prepare(url: URL, engine: Engine, *, create: bool) -> None:
    """Creates or upgrades all tables, when they are not those of this version.

    Raises:
        UserError: see `studies.storage.open_storage`.
    """
    deadline = time.monotonic() + RACE_SECONDS
    while True:
        try:
            opening(engine, lambda: _prepare(url, engine, create=create))
            return
        except (DBAPIError, StorageInternalError) as error:
            cause = error if isinstance(error, DBAPIError) else error.__cause__
            if not isinstance(cause, DBAPIError):
                raise
            raced = any(sign in str(cause.orig).lower() for sign in _RACES)
            raced = raced or cause.connection_invalidated
            if not raced or time.monotonic() > deadline:
                raise explain(cause, url) from error
        time.sleep(random.uniform(0.01, 0.2))


def _prepare(url: URL, engine: Engine, *, create: bool) -> None:
    with engine.connect() as connection:
        if _is_current(connection):
            return
    with engine.connect() as connection:
        existing = set(inspect(connection).get_table_names())
        if migrations.VERSION_TABLE in existing:
            _refuse_newer(url, connection)
    if not create and "studies" not in existing:
        raise NoStudiesError(
            f"storage '{shown(url)}' holds no studies. "
            "Start one with `sweeps run FILE`, or give another --storage."
        )
    _create_optuna_tables(url)
    with writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        migrations.upgrade(connection)
        if connection.dialect.name == "sqlite":
            for statement in schema.TRIGGERS.values():
                connection.exec_driver_sql(statement)


def _is_current(connection: Connection) -> bool:
    query = (
        f"SELECT (SELECT version_num FROM {migrations.VERSION_TABLE}),"
        " (SELECT version_num FROM alembic_version)"
    )
    expected: tuple[object, ...] = (migrations.HEAD, OPTUNA_HEAD)
    if connection.dialect.name == "sqlite":
        names = ", ".join(f"'{name}'" for name in schema.TRIGGERS)
        query += (
            f", (SELECT count(*) FROM sqlite_master WHERE type='trigger' AND name IN ({names}))"
        )
        expected += (len(schema.TRIGGERS),)
    try:
        return tuple(connection.execute(text(query)).one()) == expected
    except (OperationalError, ProgrammingError):  # a table is missing
        return False


def _refuse_newer(url: URL, connection: Connection) -> None:
    found = connection.execute(text(f"SELECT version_num FROM {migrations.VERSION_TABLE}")).scalar()
    if found is not None and found not in migrations.REVISIONS:
        raise UserError(
            f"storage '{shown(url)}' was written by a newer Sweeplane: its schema is {found}, and "
            f"this one knows {migrations.REVISIONS[0]} to {migrations.HEAD}. "
            "Run pip install --upgrade sweeplane."
        )
