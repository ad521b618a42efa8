"""Many rows in one statement, whose text is made once and does not grow with them.

Building a statement costs SQLAlchemy more than a small one costs the database, and a list of
parameters in it (`IN (?, ?, ...)`) makes another text of it at each length. So ids go in as one
parameter, and rows as the database takes them fastest: tuples to SQLite, to PostgreSQL an array for
each column.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, BindParameter, ColumnElement, Integer, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import NullType

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Table
    from sqlalchemy.sql.compiler import SQLCompiler

IDS = JSON().with_variant(postgresql.ARRAY(Integer), "postgresql")
"""The type of a parameter that is a list of ids."""


class among(FunctionElement[Any]):  # noqa: N801 (an SQL operator's name)
    """Whether a column is one of some ids, or of the parameter that will be a list of them."""

    type = NullType()  # a Boolean is compared with 1 on SQLite, and then no index is used
    inherit_cache = True

    def __init__(self, column: ColumnElement[int], ids: Sequence[int] | BindParameter[Any]) -> None:
        given = ids if isinstance(ids, BindParameter) else bindparam(None, list(ids), type_=IDS)
        super().__init__(column, given)


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} = ANY ({ids})"


@dataclass(frozen=True)
class Target:
    """Where rows go: a row is a tuple of the columns of `key`, then of `values`."""

    table: Table
    key: tuple[str, ...]
    values: tuple[str, ...]


def upsert(connection: Connection, target: Target, rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts rows, or overwrites those with the same key; of two with one key the last counts.

    The values are texts, plain numbers or None: an enum is its name.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_sqlite(target), list(rows))
        return
    columns = zip(*last_of(target, rows), strict=True)
    connection.exec_driver_sql(_postgresql(target, connection.dialect), tuple(map(array, columns)))


def last_of(target: Target, rows: Sequence[tuple[Any, ...]]) -> Collection[tuple[Any, ...]]:
    """Of rows with the same key the last: no statement of PostgreSQL's writes a row twice."""
    return {row[: len(target.key)]: row for row in rows}.values()


def array(values: Sequence[Any]) -> str:
    """Texts, or numbers and None, as PostgreSQL reads an array: psycopg's own way takes longer."""
    if values and isinstance(values[0], str):
        joined = "".join(values)
        if '"' in joined or "\\" in joined:
            values = [text.replace("\\", "\\\\").replace('"', '\\"') for text in values]
        return '{"' + '","'.join(values) + '"}'
    return "{" + str(list(values))[1:-1].replace("None", "NULL") + "}"


@functools.cache
def _sqlite(target: Target) -> str:
    names = (*target.key, *target.values)
    values = f"VALUES ({', '.join('?' * len(names))})"
    return inserting(target, values) + overwriting(target)


@functools.cache
def _postgresql(target: Target, dialect: Dialect) -> str:
    return inserting(target, f"SELECT * FROM {arrays(target, dialect)}") + overwriting(target)


def arrays(target: Target, dialect: Dialect) -> str:
    """Rows as PostgreSQL's FROM takes them; the parameters are an `array` for each column."""
    names = (*target.key, *target.values)
    # Without a length: the cast would cut a text to it, where the insert refuses a longer one.
    types = [target.table.c[name].type.compile(dialect).partition("(")[0] for name in names]
    given = ", ".join(f"%s::{each}[]" for each in types)
    return f"unnest({given}) AS given ({', '.join(names)})"


def inserting(target: Target, source: str) -> str:
    """The statement that inserts the rows of `source`."""
    return f"INSERT INTO {target.table.name} ({', '.join((*target.key, *target.values))}) {source}"


def overwriting(target: Target) -> str:
    """What makes of it an upsert."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in target.values)
    return f" ON CONFLICT ({', '.join(target.key)}) DO UPDATE SET {changed}"
