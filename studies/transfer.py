"""Rows on their way from one study DB to another, and checksums that compare both sides.

A row's hash is BLAKE2b-128 over its values: floats bit for bit (but -0.0 is 0.0, since SQLite keeps
no sign of zero), infinities, NULLs, booleans, times to the microsecond, text and JSON as written.
A table's checksum is the sum of its rows' hashes modulo 2^128: the order of rows does not count,
their number does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    Column,
    Float,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    select,
    type_coerce,
)

from studies import schema, tables
from studies.migrations import VERSION_TABLE
from studies.versions import OPTUNA_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

BATCH = 2_000
_MODULUS = 2**128

VERSION_INFO = "version_info"  # Optuna's, one row: which Optuna made the tables


def data_tables() -> list[Table]:
    """Every table with rows to copy, Optuna's and ours, parents first."""
    return [*tables.studies.metadata.sorted_tables, *schema.metadata.sorted_tables]


def version_tables() -> list[Table]:
    """The version tables of Alembic, which an upgrade writes and a copy only compares."""
    return [
        Table(name, MetaData(), Column("version_num", String(32)))
        for name in (OPTUNA_TABLE, VERSION_TABLE)
    ]


@dataclass
class Sum:
    """How many rows a table has, and their checksum so far."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Count these rows in."""
        for row in rows:
            digest = hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).digest()
            self.total = (self.total + int.from_bytes(digest)) % _MODULUS
            self.rows += 1

    @property
    def text(self) -> str:
        """The checksum as 32 hexadecimal digits."""
        return f"{self.total:032x}"


def count(connection: Connection, table: Table) -> int:
    """The number of rows."""
    return connection.scalar(select(func.count()).select_from(table)) or 0


def batches(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a table, `BATCH` at a time, their values as `Sum` compares them."""
    floats = [i for i, column in enumerate(table.columns) if isinstance(column.type, Float)]
    query = select(*(_read(column, connection) for column in table.columns))
    query = query.order_by(*table.primary_key)  # rows lie in the target as they came
    streamed = {"stream_results": True, "yield_per": BATCH}
    with connection.execute(query, execution_options=streamed) as result:
        for part in result.partitions(BATCH):
            yield [_exact(row, floats) for row in part]


def _read(column: Column[Any], connection: Connection) -> Any:
    if not isinstance(column.type, JSON):
        return column
    # As it is written: parsed and written again, it could read otherwise.
    if connection.dialect.name == "sqlite":
        return type_coerce(column, Text)
    return cast(column, Text)


def _exact(row: Row[Any], floats: Sequence[int]) -> tuple[Any, ...]:
    if not floats:
        return tuple(row)
    values = list(row)
    for i in floats:
        if values[i] is not None:
            values[i] = float(values[i]) + 0.0
    return tuple(values)


def inserter(connection: Connection, table: Table) -> Callable[[Sequence[tuple[Any, ...]]], object]:
    """A function that writes rows, as `batches` gives them, into `table`."""
    names = [column.name for column in table.columns]
    statement = insert(table).values({column.name: _write(column) for column in table.columns})
    if connection.dialect.name == "sqlite":
        statement = insert(table).values(
            {
                column.name: bindparam(column.name, type_=_sqlite_type(column))
                for column in table.columns
            }
        )

    def write(rows: Sequence[tuple[Any, ...]]) -> object:
        return connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])

    return write


def _write(column: Column[Any]) -> Any:
    if isinstance(column.type, JSON):
        return cast(bindparam(column.name, type_=Text()), JSON)
    return bindparam(column.name, type_=column.type)


def _sqlite_type(column: Column[Any]) -> Any:
    return Text() if isinstance(column.type, JSON) else column.type
