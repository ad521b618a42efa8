"""Rows of trials that run and that the caller may write to: on PostgreSQL, in one statement.

A batch takes the server a millisecond, so each round trip more is felt: locks, checks, writes and
COMMIT go in one.

Under READ COMMITTED a statement sees what was there as it began; but of a row that it locks it gets
what the row has become while it waited, and the condition is checked anew. So leases are locked
too, after their trials as everywhere (`studies.fences`): a token that is only read could be one
from before the wait.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import IntegrityError

from studies.bulk import Target, array, arrays, inserting, last_of, overwriting

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect

    from studies.fences import Fence

_RUNNING = """running AS (
    SELECT trial_id FROM trials
    WHERE trial_id = ANY (%s::INTEGER[]) AND state = 'RUNNING'
    ORDER BY trial_id FOR UPDATE
)"""
_ALL = "kept AS (SELECT trial_id FROM running)"
# A join of both tables would be planned to read all leases as long as they are few, and the plan
# is kept.
_HELD = """leased AS (
    SELECT trial_id, token FROM leases
    WHERE trial_id = ANY (ARRAY(SELECT trial_id FROM running)) AND worker_id = %s
    ORDER BY trial_id FOR UPDATE
), kept AS (
    SELECT trial_id FROM leased
    JOIN unnest(%s::INTEGER[], %s::INTEGER[]) AS given (trial_id, token) USING (trial_id, token)
)"""


def upsert_running(
    connection: Connection,
    trial_ids: Collection[int],
    fence: Fence | None,
    parts: Sequence[tuple[Target, Sequence[tuple[Any, ...]]]],
) -> set[int]:
    """Upserts rows of trials, in autocommit: see `bulk.upsert`. A row begins with its trial's id.

    Returns:
        The trials which run and which the caller may write to; of the others nothing is written.
    """
    ids = list(trial_ids)
    parameters: list[Any] = [given := array(ids)]
    if fence is not None:
        parameters += [fence.worker_id, given, array([fence.tokens.get(id_) for id_ in ids])]
    filled = [(target, rows) for target, rows in parts if rows]
    for target, rows in filled:
        parameters += map(array, zip(*last_of(target, rows), strict=True))
    targets = tuple(target for target, _ in filled)

    def send(*, overwrite: bool) -> set[int]:
        text = _statement(targets, connection.dialect, fence is not None, overwrite)
        return set(connection.exec_driver_sql(text, tuple(parameters)).scalar_one())

    # A row is seldom there already, and to look for each in the index is a sixth of the work.
    try:
        return send(overwrite=False)
    except IntegrityError:
        return send(overwrite=True)


@functools.cache
def _statement(targets: tuple[Target, ...], dialect: Dialect, fenced: bool, overwrite: bool) -> str:
    steps = [_RUNNING, _HELD if fenced else _ALL]
    for target in targets:
        rows = f"SELECT * FROM {arrays(target, dialect)} "
        insert = inserting(target, rows + "WHERE trial_id IN (SELECT trial_id FROM kept)")
        insert += overwriting(target) if overwrite else ""
        steps.append(f"into_{target.table.name} AS ({insert})")
    return f"WITH {', '.join(steps)} SELECT ARRAY(SELECT trial_id FROM kept)"
