"""Who may write to a trial, and how a trial is given back: parts of other modules' transactions.

Trials are locked before their leases, everywhere: whoever takes a trial over waits for a write that
has begun, and every later write finds the new token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import bindparam, delete, exists, select, update

from studies import schema, tables
from studies.bulk import IDS, among

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select, Table


@dataclass(frozen=True)
class Fence:
    """Who writes: a worker, and the token of each lease that it holds."""

    worker_id: int
    tokens: Mapping[int, int]  # by trial id


def release_trials(connection: Connection, trial_ids: Sequence[int]) -> None:
    """Makes locked RUNNING trials WAITING, and releases their leases."""
    trials = tables.trials
    forget_progress(connection, trial_ids)
    connection.execute(
        update(trials)
        .where(among(trials.c.trial_id, trial_ids))
        .values(state=TrialState.WAITING, datetime_start=None)
    )
    end_leases(connection, trial_ids, worker_id=None)


def forget_progress(connection: Connection, trial_ids: Sequence[int]) -> None:
    """Deletes the curves of trials and the rungs that they reached.

    A trial without the user attribute `config` was still being drawn: its parameters go too, so
    that it is drawn anew as a whole, and to the same values by a sampler that is seeded by its
    number.
    """
    rungs = tables.system_attrs.c.key.startswith("completed_rung_", autoescape=True)
    connection.execute(_delete_of(tables.intermediates, trial_ids))
    connection.execute(_delete_of(schema.points, trial_ids))
    connection.execute(_delete_of(tables.system_attrs, trial_ids).where(rungs))
    params, attrs = tables.params, tables.user_attrs
    drawn = exists().where(attrs.c.trial_id == params.c.trial_id, attrs.c.key == "config")
    connection.execute(_delete_of(params, trial_ids).where(~drawn))


def end_leases(connection: Connection, trial_ids: Sequence[int], **values: Any) -> None:
    """The leases of locked trials expire no more."""
    leases = schema.leases
    connection.execute(
        update(leases)
        .where(in_order(among(leases.c.trial_id, trial_ids)))
        .values(expires_at=None, **values)
    )


def in_order(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """`condition` on leases, whose rows are locked in one order: see `lock`."""
    leases = schema.leases
    rows = select(leases.c.trial_id).where(condition).order_by(leases.c.trial_id).with_for_update()
    return leases.c.trial_id.in_(rows)


def lock_running(
    connection: Connection, trial_ids: Collection[int], fence: Fence | None = None
) -> set[int]:
    """Locks trials, and returns those which run and which the caller may write to."""
    ids = list(trial_ids)
    if connection.dialect.name == "postgresql":
        connection.execute(_lock, {"ids": ids})
    # A statement of its own: on PostgreSQL it sees what was committed while the lock waited.
    if fence is None:
        return set(connection.scalars(_running, {"ids": ids}).all())
    rows = connection.execute(_running_here, {"ids": ids, "worker": fence.worker_id}).all()
    return {trial_id for trial_id, token in rows if fence.tokens.get(trial_id) == token}


def lock(connection: Connection, condition: ColumnElement[bool]) -> dict[int, int]:
    """Locks trials; returns their numbers by id."""
    number = tables.trials.c.number
    return {row.trial_id: row.number for row in connection.execute(_locking(condition, number))}


def _locking(condition: ColumnElement[bool], *more: ColumnElement[Any]) -> Select[Any]:
    # One order for everybody, so that two processes never wait for each other's rows. SQLite has
    # no row locks; there BEGIN IMMEDIATE holds the whole database.
    trial_id = tables.trials.c.trial_id
    return select(trial_id, *more).where(condition).order_by(trial_id).with_for_update()


def _delete_of(table: Table, trial_ids: Sequence[int]) -> Any:
    return delete(table).where(among(table.c.trial_id, trial_ids))


# Made once: one of them is part of every write.
_trials, _leases = tables.trials.c, schema.leases.c
_given = among(_trials.trial_id, bindparam("ids", type_=IDS))
_lock = _locking(_given)
_running = select(_trials.trial_id).where(_given, _trials.state == TrialState.RUNNING)
_running_here = _running.add_columns(_leases.token).where(
    _leases.trial_id == _trials.trial_id, _leases.worker_id == bindparam("worker")
)
