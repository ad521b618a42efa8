"""Copies a whole study DB into an empty one: SQLite to PostgreSQL, back, or like to like.

The source is one snapshot, nothing of it changes. The target gets its tables as any new study DB
does, then every row with its id in one transaction, which ends only when each table has the same
number of rows and the same checksum on both sides (`studies.transfer`). After a failure the target
holds no row, and no table or file either that was not there before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from studies import migrations, setup, target, transfer
from studies.check_rows import sequence_of, without_parent
from studies.database import check_file, explain, make_engine, parse_url, shown, writing
from studies.errors import SweeplaneError, UserError
from studies.reading import reading, said
from studies.roster import held_studies, in_words, stop_first
from studies.transfer import Sum
from studies.versions import no_studies, read_versions, refuse_newer

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Table

Progress = Callable[[str, str, int, int], None]
"""Called with "copy" or "verify", a table, and how many of how many rows of all are done."""


@dataclass(frozen=True)
class TableCopy:
    """One table on both sides."""

    name: str
    source_rows: int
    target_rows: int
    source_checksum: str
    target_checksum: str

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        source = (self.source_rows, self.source_checksum)
        return source == (self.target_rows, self.target_checksum)


@dataclass(frozen=True)
class Copy:
    """What was copied; URLs without passwords."""

    source: str
    target: str
    tables: tuple[TableCopy, ...]
    not_copied: tuple[str, ...]  # the source's tables that are neither Optuna's nor ours
    running: tuple[str, ...]  # studies that a live process was running: with `force` only


def copy_storage(
    source_url: str,
    target_url: str,
    *,
    force: bool = False,
    progress: Progress = lambda *_: None,
) -> Copy:
    """Copies every table of Optuna's and ours, and verifies the copy before it is there.

    Args:
        source_url: a study DB whose schema is that of this version.
        target_url: an empty database; a SQLite file is created.
        force: copy while a live process runs a sweep of the source too. The copy is what the
            source was at one moment, the leases included.
        progress: see `Progress`.

    Raises:
        UserError: one of the databases cannot be opened; the source's schema is newer or older;
            a sweep of it is being run; the target holds something.
        SweeplaneError: a row was refused or cannot be read, the disk is full, the sides differ.
    """
    source, to = parse_url(source_url), parse_url(target_url)
    check_file(source, create=False)
    check_file(to, create=True)
    if _same(source, to):
        raise UserError(f"FROM and TO are the same database, '{shown(to)}'. Give another TO.")
    try:
        with reading(source) as connection:
            running = _check_source(connection, source, force=force)
            others = _others(connection)
            compared = _into(connection, to, progress)
    except DBAPIError as error:
        raise explain(error, source) from error
    return Copy(shown(source), shown(to), tuple(compared), others, running)


def _same(source: URL, to: URL) -> bool:
    if source.get_backend_name() != "sqlite" or to.get_backend_name() != "sqlite":
        names = ("host", "port", "database", "query")
        backends = source.get_backend_name() == to.get_backend_name()
        return backends and all(getattr(source, name) == getattr(to, name) for name in names)
    one, other = Path(str(source.database)), Path(str(to.database))
    return other.exists() and one.samefile(other)


def _check_source(connection: Connection, url: URL, *, force: bool) -> tuple[str, ...]:
    versions = read_versions(connection)
    if versions.optuna is None:
        raise no_studies(url)
    refuse_newer(url, versions)
    if (versions.optuna, versions.sweeplane) != (setup.OPTUNA_HEAD, migrations.HEAD):
        address = shown(url)
        raise UserError(
            f"storage '{address}' has an older schema (Optuna {versions.optuna}, Sweeplane "
            f"{versions.sweeplane or 'none'}). Upgrade it first: sweeps storage upgrade "
            f"--storage {address}"
        )
    held = held_studies(connection)
    if held and not force:
        raise UserError(
            f"{in_words(held)}: what is written from now on would not be in the copy. "
            f"{stop_first(held)}, or give --force for a copy of this moment."
        )
    return tuple(each.name for each in held)


def _others(connection: Connection) -> tuple[str, ...]:
    known = {table.name for table in (*transfer.data_tables(), *transfer.version_tables())}
    return tuple(sorted(set(inspect(connection).get_table_names()) - known))


def _into(source: Connection, url: URL, progress: Progress) -> list[TableCopy]:
    engine = make_engine(url)
    fresh = target.Fresh(url, engine)
    try:
        fresh.prepare()
        return _copy(source, engine, url, progress)
    except BaseException:  # Ctrl-C too must leave nothing behind
        engine.dispose()
        with suppress(SQLAlchemyError, OSError):
            fresh.discard()
        raise
    finally:
        engine.dispose()


def _copy(source: Connection, engine: Engine, url: URL, progress: Progress) -> list[TableCopy]:
    data = transfer.data_tables()
    at = "the start"
    try:
        with writing(engine).begin() as connection:
            target.lock_empty(connection, url)
            total = sum(transfer.count(source, table) for table in data)
            sums: dict[str, Sum] = {}
            for table in data:
                at = f"table {table.name}"
                done = sum(each.rows for each in sums.values())
                sums[table.name] = _table(
                    source, connection, table, _at(progress, "copy", done, total)
                )
                # PostgreSQL's `points` has no foreign key that would refuse such rows.
                for finding in without_parent(connection, table):
                    raise _stopped(url, at, finding.what)
            at = "the comparison"
            compared = _compare(source, connection, sums, total, progress)
            _set_sequences(connection, data)
            at = "the end"
    except StatementError as error:
        raise _stopped(url, at, said(error, url)) from error
    return compared


def _stopped(url: URL, at: str, why: str) -> SweeplaneError:
    return SweeplaneError(
        f"copy to '{shown(url)}': stopped at {at}: {why}. Nothing was copied. {_advice(why)}"
    )


def _at(progress: Progress, phase: str, before: int, total: int) -> Callable[[str, int], None]:
    return lambda table, rows: progress(phase, table, before + rows, total)


def _table(
    source: Connection, to: Connection, table: Table, progress: Callable[[str, int], None]
) -> Sum:
    if table.name == transfer.VERSION_INFO:
        to.execute(delete(table))  # the one row that every new database has
    write, found = transfer.inserter(to, table), Sum()
    for rows in transfer.batches(source, table):
        write(rows)
        found.add(rows)
        progress(table.name, found.rows)
    return found


def _compare(
    source: Connection, to: Connection, sums: dict[str, Sum], total: int, progress: Progress
) -> list[TableCopy]:
    compared = []
    done = 0
    for table in (*transfer.data_tables(), *transfer.version_tables()):
        there = _summed(to, table, _at(progress, "verify", done, total))
        done += there.rows
        here = sums.get(table.name) or _summed(source, table, lambda *_: None)
        compared.append(TableCopy(table.name, here.rows, there.rows, here.text, there.text))
    different = [each.name for each in compared if not each.equal]
    if different:
        raise SweeplaneError(
            f"the copy differs from its source in {', '.join(different)}, so it was undone. "
            "Run sweeps storage check on the source; if that finds nothing, this is a bug."
        )
    return compared


def _summed(connection: Connection, table: Table, progress: Callable[[str, int], None]) -> Sum:
    found = Sum()
    for rows in transfer.batches(connection, table):
        found.add(rows)
        progress(table.name, found.rows)
    return found


def _set_sequences(connection: Connection, data: Sequence[Table]) -> None:
    if connection.dialect.name != "postgresql":
        return
    for table in data:
        sequence, key = sequence_of(connection, table)
        highest = connection.scalar(select(func.max(table.c[key]))) if sequence else None
        if highest is not None:
            connection.execute(
                text("SELECT setval(:sequence, :highest)"),
                {"sequence": sequence, "highest": highest},
            )


def _advice(problem: str) -> str:
    text = problem.lower()
    if any(sign in text for sign in ("is full", "no space", "too big", "disk i/o")):
        return "Free some space and run it again."
    if any(sign in text for sign in ("constraint", "not there", "out of range", "too long")):
        return "Run sweeps storage check on the source: it lists rows that do not belong."
    return "Run it again; sweeps storage check shows whether the source is sound."
