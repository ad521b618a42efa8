"""Which database a URL means, how it is connected to, and what its errors mean to the user.

SQLite: WAL, foreign keys on, 30 s of patience for another writer; `synchronous = FULL` for the
transactions that end trials, which forces all earlier ones to the disk too, else NORMAL. The
driver's own transaction control is off (`isolation_level = None`): a transaction that will write
says `BEGIN IMMEDIATE`, since one that begins by reading cannot wait for the write lock later
("database is locked"); a reading one says `BEGIN` and sees one snapshot.

PostgreSQL: psycopg 3, with 2 s to connect. A connection that has ended is replaced before it is
used, TCP keepalives find a peer that is gone, and the server ends a statement after 60 s. It ends
a transaction in which nothing happens after 20 s: that of a process which was paused, and whose
locks would hold up all others. `?options=-c ...` of the URL changes what the server does.
"""

from __future__ import annotations

import difflib
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError

from studies.errors import NoStudiesError, UserError
from studies.secrets import mask_passwords

if TYPE_CHECKING:
    from sqlalchemy import URL

BUSY_SECONDS = 30
CONNECT_SECONDS = 2
RECYCLE_SECONDS = 1800  # a firewall forgets connections that are idle for longer

_LIMITS = "-c statement_timeout=60s -c idle_in_transaction_session_timeout=20s"
_KEEPALIVES = {
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}

_FORMS = "sqlite:///sweeps.db or postgresql+psycopg://user:password@host/database"
_INSTALL = "pip install 'sweeplane[postgres]'"
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg", "postgresql+psycopg2")

# What the driver says -> what to do. The first that matches counts.
_ADVICE = (
    ("not a database", "Give another file, or move this one away"),
    ("readonly", "Make the file and its folder writable, or give another file"),
    ("read-only", "Make the database writable"),
    ("unable to open", "Give a file in a folder that exists and is writable"),
    ("is full", "Free some space"),
    ("no space", "Free some space"),
    ("disk i/o", "See whether its disk is full, read-only or broken"),
    ("locked", "Another process holds the database; end it or wait for it"),
    ("password", "Check the user and the password in the URL"),
    ("does not exist", "Create it, or give the name of one that exists"),
    ("permission denied", "Give this user the right to create tables in this database"),
    ("", "See whether the server runs, and whether host and port are right"),
)


def parse_url(text: str) -> URL:
    """The URL of a database that can hold studies, its driver installed.

    Raises:
        UserError: it cannot be read, its dialect is not known, its driver is not installed. No
            message holds a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UserError(
            f"storage URL '{mask_passwords(text)}' cannot be read. Write {_FORMS}; "
            "percent-encode the characters @ : / ? # in a password."
        ) from None
    if url.drivername not in _DRIVERS:
        near = difflib.get_close_matches(url.drivername, _DRIVERS[3:], n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UserError(
            f"storage URL '{shown(url)}': '{url.drivername}' is unknown.{hint} Write {_FORMS}."
        )
    try:
        url.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError) as error:
        raise UserError(
            f"storage URL '{shown(url)}': the driver of '{url.drivername}' is not installed "
            f"({error}). Write postgresql+psycopg:// and run {_INSTALL}."
        ) from None
    return url


def check_file(url: URL, *, create: bool) -> None:
    """Refuses a SQLite URL whose file cannot be opened, before anything is created.

    Raises:
        UserError: in memory, a folder, in a folder that is missing or not writable, or (unless
            `create`) a file that does not exist.
    """
    if url.get_backend_name() != "sqlite":
        return
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise UserError(
            f"storage URL '{shown(url)}' names no plain file, and a study must outlive its "
            "process. Write sqlite:///sweeps.db."
        )
    path = Path(url.database)
    folder = path.absolute().parent
    if path.is_dir():
        raise UserError(f"storage '{path}' is a folder. Give a file, such as {path / 'sweeps.db'}.")
    if path.exists():
        return
    if not create:
        raise NoStudiesError(
            f"storage '{path}' does not exist, so it holds no studies. "
            "Start one with `sweeps run FILE`, or give another --storage."
        )
    if not folder.is_dir():
        raise UserError(f"storage '{path}': the folder '{folder}' does not exist. Create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"storage '{path}': the folder '{folder}' is not writable.")


def shown(url: URL) -> str:
    """The URL as it may be printed: without any password."""
    return mask_passwords(url.render_as_string(hide_password=True))


def engine_options(url: URL, *, limits: bool = False) -> dict[str, Any]:
    """The arguments of `create_engine` that every engine on `url` has, ours and Optuna's.

    `limits`: the server ends statements and transactions that take too long.
    """
    if url.get_backend_name() == "sqlite":
        patience = float(str(url.query.get("timeout", BUSY_SECONDS)))
        return {
            "connect_args": {"timeout": patience, "isolation_level": None},
            "pool_events": [(_on_sqlite_connect, "connect")],
        }
    given = {"connect_timeout": CONNECT_SECONDS, **_KEEPALIVES}
    arguments: dict[str, Any] = {k: v for k, v in given.items() if k not in url.query}
    if limits:  # the server takes the last of two values
        own = url.query.get("options") or os.environ.get("PGOPTIONS", "")
        arguments["options"] = f"{_LIMITS} {own}".strip()
    return {
        "connect_args": arguments,
        "pool_events": [(_on_postgres_checkout, "checkout")],
        "pool_recycle": RECYCLE_SECONDS,
    }


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_postgres_checkout(connection: Any, *_: object) -> None:
    """Refuses a connection that its server has ended: the end of its socket is there to be read.

    To ask the server would be a round trip for each transaction, and a report is one itself.
    """
    socket = select.poll()
    if not connection.closed:
        socket.register(connection, select.POLLIN)
    if connection.closed or socket.poll(0):
        raise DisconnectionError("the server has ended this connection")


def make_engine(url: URL, *, limits: bool = False) -> Engine:
    """Our own engine on `url`; `writing(engine)` is the same with transactions that write."""
    engine = create_engine(url, **engine_options(url, limits=limits))
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    synchronous = "FULL" if options.get("durable", False) else "NORMAL"
    if connection.info.get("synchronous", "NORMAL") != synchronous:
        connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
        connection.info["synchronous"] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("immediate", False) else "BEGIN")


def writing(engine: Engine, *, durable: bool = False) -> Engine:
    """`engine` for transactions that write: on SQLite they take the write lock as they begin.

    `durable`: not even a power cut loses what is committed, nor what was before it.
    """
    if engine.dialect.name != "sqlite":
        return engine
    return engine.execution_options(immediate=True, durable=durable)


@contextmanager
def beginning(
    engine: Engine, *, durable: bool = False, single: bool = False
) -> Iterator[Connection]:
    """A transaction that writes; `durable`: see `writing`.

    `single`: one statement is all of it. PostgreSQL is told so, and neither BEGIN nor COMMIT.
    """
    with writing(engine, durable=durable).connect() as connection:
        if single and engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT")
        with connection.begin():
            yield connection


def explain(error: DBAPIError, url: URL) -> UserError:
    """What a failure to open the database at `url` means to the user."""
    said = str(error.orig).strip() or type(error.orig).__name__
    detail = mask_passwords(said.splitlines()[0])
    if url.password:
        detail = detail.replace(str(url.password), "***")
    return UserError(f"storage '{shown(url)}' cannot be opened: {detail}. {advice(said)}.")


def advice(said: str) -> str:
    """What to do about what a driver said."""
    return next(text for sign, text in _ADVICE if sign in said.lower())
