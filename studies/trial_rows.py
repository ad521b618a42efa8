"""The questions about the rows of trials that the mirror asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, bindparam, select, union_all

from studies import tables
from studies.bulk import IDS, among

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

Parts = tuple[list[Any], ...]
"""What the tables hold of a trial, each as the driver's rows: its parameters, values, user and
system attributes, and curve."""


def select_heads() -> Select[Any]:
    """Of trials: whose they are, their number, state and times."""
    trials = tables.trials.c
    return select(
        trials.trial_id,
        trials.study_id,
        trials.number,
        trials.state,
        trials.datetime_start,
        trials.datetime_complete,
    )


def parts_of(
    connection: Connection, ids: Sequence[int] | None, study_id: int | None = None
) -> dict[int, Parts]:
    """What the tables hold of some trials, or (None) of all those of a study, by id."""
    found: dict[int, Parts] = defaultdict(lambda: ([], [], [], [], []))
    for place, (some, every) in enumerate(_queries):
        query, chosen = (every, {"study": study_id}) if ids is None else (some, {"ids": ids})
        # The driver's own rows: SQLAlchemy's take twice as long, and a study may have 500,000.
        # So an enum is its name here.
        with connection.execute(query, chosen) as result:
            for row in result.cursor.fetchall():
                found[row[0]][place].append(row)
    return found


def _both(table: Table, *names: str, order: str | None = None) -> tuple[Select[Any], Select[Any]]:
    """The rows of the trials with some ids, and those of all trials of a study."""
    query = select(table.c.trial_id, *(table.c[name] for name in names))
    if order is not None:
        query = query.order_by(table.c[order])
    trials = tables.trials.c
    study = select(trials.trial_id).where(trials.study_id == bindparam("study"))
    return query.where(_given(table.c.trial_id)), query.where(table.c.trial_id.in_(study))


def _given(column: ColumnElement[int]) -> ColumnElement[bool]:
    return among(column, bindparam("ids", type_=IDS))


# Made once: a statement costs more to build than a look at few trials costs the database.
_study = tables.trials.c.study_id == bindparam("study")
CHANGED = union_all(
    select_heads().where(_study, tables.trials.c.trial_id > bindparam("last")),
    select_heads().where(_study, _given(tables.trials.c.trial_id)),
)
_queries = (
    _both(tables.params, "param_name", "param_value", "distribution_json", order="param_id"),
    _both(tables.values, "value", "value_type", order="objective"),
    _both(tables.user_attrs, "key", "value_json"),
    _both(tables.system_attrs, "key", "value_json"),
    _both(tables.intermediates, "step", "intermediate_value", "intermediate_value_type"),
)
