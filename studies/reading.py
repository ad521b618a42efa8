"""An engine that reads a study DB as it stands and changes nothing in it.

SQLite: `query_only`, and no pragma that would turn the file's journal into WAL. PostgreSQL:
read-only transactions. A transaction sees one snapshot on both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, create_engine, event

from studies.database import engine_options
from studies.secrets import mask_passwords

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.exc import StatementError


@contextmanager
def reading(url: URL) -> Iterator[Connection]:
    """A connection to `url` in a transaction that reads; the database must exist."""
    arguments = engine_options(url).get("connect_args", {})
    engine = create_engine(url, connect_args=arguments)
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    if url.get_backend_name() == "sqlite":
        options = {}
        event.listen(engine, "connect", _query_only)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    try:
        with engine.connect() as connection:
            yield connection.execution_options(**options) if options else connection
    finally:
        engine.dispose()


def _query_only(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def said(error: StatementError, url: URL) -> str:
    """What the driver said, in one line without passwords."""
    text = str(error.orig).strip() or type(error.orig).__name__
    line = mask_passwords(" ".join(text.split()))
    return line.replace(str(url.password), "***") if url.password else line
