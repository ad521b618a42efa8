"""The checks of `studies.checks` that look at rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Literal

from optuna.trial import TrialState
from sqlalchemy import Integer, Table, and_, distinct, exists, func, or_, select, text

from studies import schema, tables
from studies.roster import held_studies

if TYPE_CHECKING:
    from sqlalchemy import Connection, ForeignKey

_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and what to do about it."""

    level: Literal["fault", "note"]
    what: str
    advice: str


def fault(what: str, advice: str) -> Finding:
    """A finding that makes the database unsound."""
    return Finding("fault", what, advice)


def note(what: str, advice: str) -> Finding:
    """A finding that leaves the database sound."""
    return Finding("note", what, advice)


def _known(*, ours: bool) -> list[Table]:
    own = schema.metadata.sorted_tables if ours else []
    return [*tables.studies.metadata.sorted_tables, *own]


def orphans(connection: Connection, *, ours: bool) -> Iterator[Finding]:
    """Rows whose study or trial is not there."""
    seen: set[tuple[str, str]] = set()
    for table in _known(ours=ours):
        seen |= {(table.name, key.column.table.name) for key in table.foreign_keys}
        yield from without_parent(connection, table)
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    pairs = [(row[0], row[2]) for row in found]
    for table_name, parent in sorted(set(pairs) - seen):
        count = pairs.count((table_name, parent))
        yield fault(
            f"table {table_name}: {_count(count, 'row')} without a row of {parent}",
            "this table is neither Optuna's nor Sweeplane's: ask the program that wrote it",
        )


def without_parent(connection: Connection, table: Table) -> Iterator[Finding]:
    """Rows of a table whose study or trial is not there."""
    for key in table.foreign_keys:
        yield from _without(connection, table, key)


def _without(connection: Connection, table: Table, key: ForeignKey) -> Iterator[Finding]:
    child, parent = key.parent, key.column
    lost = and_(child.is_not(None), ~exists().where(parent == child))
    count = connection.scalar(select(func.count()).select_from(table).where(lost)) or 0
    if not count:
        return
    some = connection.scalars(select(child).distinct().where(lost).order_by(child).limit(_EXAMPLES))
    kind = child.name.removesuffix("_id")
    ids = ", ".join(map(str, some))
    yield fault(
        f"table {table.name}: {_count(count, 'row')} whose {kind} is not there "
        f"({child.name} {ids}{', ...' if count > _EXAMPLES else ''})",
        f"keep a copy, then: DELETE FROM {table.name} WHERE {child.name} NOT IN "
        f"(SELECT {parent.name} FROM {parent.table.name});",
    )


def numbers(connection: Connection) -> Iterator[Finding]:
    """Studies whose trials are not numbered 0, 1, 2, ..."""
    trials, studies = tables.trials, tables.studies
    number, count = trials.c.number, func.count()
    query = (
        select(
            studies.c.study_name,
            count.label("trials"),
            func.count(distinct(number)).label("different"),
            func.max(number).label("highest"),
        )
        .join_from(trials, studies, trials.c.study_id == studies.c.study_id)
        .group_by(studies.c.study_id, studies.c.study_name)
        .having(
            or_(
                func.min(number) != 0,
                func.max(number) != count - 1,
                func.count(distinct(number)) != count,
            )
        )
        .order_by(studies.c.study_id)
    )
    for row in connection.execute(query):
        yield fault(
            f"study '{row.study_name}': {_count(row.trials, 'trial')} with {row.different} "
            f"different numbers up to {row.highest}; they should be 0 to {row.trials - 1}",
            "a trial was deleted or numbered by hand, and the next one gets a number that is "
            "taken: go on in a new study (sweeps run FILE --name NEW)",
        )


def values(connection: Connection) -> Iterator[Finding]:
    """Complete trials without a value, and values that Optuna cannot read."""
    trials, studies, found, directions = (
        tables.trials,
        tables.studies,
        tables.values,
        tables.directions,
    )
    has = select(func.count()).where(found.c.trial_id == trials.c.trial_id).scalar_subquery()
    needs = select(func.count()).where(directions.c.study_id == trials.c.study_id).scalar_subquery()
    query = (
        select(studies.c.study_name, trials.c.number, has.label("has"), needs.label("needs"))
        .join_from(trials, studies, trials.c.study_id == studies.c.study_id)
        .where(trials.c.state == TrialState.COMPLETE, has != needs)
        .order_by(studies.c.study_id, trials.c.number)
    )
    for row in connection.execute(query):
        yield fault(
            f"study '{row.study_name}', trial {row.number}: complete with {row.has} of "
            f"{_count(row.needs, 'value')}",
            f"train it again: sweeps retry {quote(row.study_name)} {row.number}",
        )
    yield from _encodings(connection)


def _encodings(connection: Connection) -> Iterator[Finding]:
    """A number is there when and only when its type is FINITE."""
    for table, value, kind in (
        (tables.values, "value", "value_type"),
        (tables.intermediates, "intermediate_value", "intermediate_value_type"),
    ):
        finite = table.c[kind] == "FINITE"
        wrong = or_(
            and_(finite, table.c[value].is_(None)), and_(~finite, table.c[value].is_not(None))
        )
        count = connection.scalar(select(func.count()).select_from(table).where(wrong))
        if count:
            yield fault(
                f"table {table.name}: {_count(count, 'row')} whose {kind} does not fit {value}",
                f"Optuna cannot read such a trial. FINITE needs a number and every other type "
                f"needs NULL: correct {kind} by SQL",
            )


def running(connection: Connection) -> Iterator[Finding]:
    """Trials of sweeps that are RUNNING while nobody trains them, as far as can be seen."""
    trials, studies, sweeps, leases = tables.trials, tables.studies, schema.sweeps, schema.leases
    live = {held.study_id for held in held_studies(connection)}
    query = (
        select(studies.c.study_id, studies.c.study_name, trials.c.number, leases.c.expires_at)
        .join_from(trials, studies, trials.c.study_id == studies.c.study_id)
        .join(sweeps, sweeps.c.study_id == studies.c.study_id)
        .outerjoin(leases, leases.c.trial_id == trials.c.trial_id)
        .where(trials.c.state == TrialState.RUNNING)
        .order_by(studies.c.study_id, trials.c.number)
    )
    left: dict[str, list[int]] = {}
    others: dict[str, list[int]] = {}
    for row in connection.execute(query):
        if row.expires_at is None:
            others.setdefault(row.study_name, []).append(row.number)
        elif row.study_id not in live:
            left.setdefault(row.study_name, []).append(row.number)
    for study, found in left.items():
        yield note(
            f"study '{study}': {_count(len(found), 'trial')} RUNNING, and nobody runs it "
            f"({_some(found)})",
            "the next `sweeps run FILE` takes them over and trains them",
        )
    for study, found in others.items():
        yield note(
            f"study '{study}': {_count(len(found), 'trial')} RUNNING without a lease "
            f"({_some(found)})",
            "a program that works on the study through Optuna has them; if it is gone, end each: "
            "study.tell(NUMBER, state=optuna.trial.TrialState.FAIL)",
        )


def _some(numbers: Sequence[int]) -> str:
    more = ", ..." if len(numbers) > _EXAMPLES else ""
    return ", ".join(map(str, numbers[:_EXAMPLES])) + more


def sequences(connection: Connection, *, ours: bool) -> Iterator[Finding]:
    """Sequences that would give a new row the id of another one."""
    for table in _known(ours=ours):
        sequence, key = sequence_of(connection, table)
        if sequence is None:
            continue
        highest = connection.scalar(select(func.max(table.c[key])))
        last, called = connection.execute(
            text(f"SELECT last_value, is_called FROM {sequence}")
        ).one()
        if highest is not None and last + int(called) <= highest:
            yield fault(
                f"table {table.name}: the next {key} would be {last + int(called)}, and "
                f"{highest} is taken",
                f"SELECT setval('{sequence}', {highest});",
            )


def sequence_of(connection: Connection, table: Table) -> tuple[str | None, str]:
    """PostgreSQL's sequence behind the key of `table` (None: it has none), and that key's name."""
    keys = [column for column in table.primary_key if isinstance(column.type, Integer)]
    if len(keys) != 1 or table.primary_key.columns.keys() != [keys[0].name]:
        return None, ""
    name = connection.scalar(
        text("SELECT pg_get_serial_sequence(:table, :column)"),
        {"table": table.name, "column": keys[0].name},
    )
    return name, keys[0].name


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
