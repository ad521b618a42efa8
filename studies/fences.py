"""Who may write to a trial, and how a trial is given back: parts of other modules' transactions.

Trials are locked before their leases, everywhere: whoever takes a trial over waits for a write that
has begun, and every later write finds the new token.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from sqlalchemy import bindparam, case, delete, exists, select, update

from studies import schema, tables
from studies.bulk import IDS, among
from studies.schema import utc_now

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select


@dataclass(frozen=True)
class Fence:
    """Who writes: a worker, and the token of each lease that it holds."""

    worker_id: int
    tokens: Mapping[int, int]  # by trial id


def release_trials(connection: Connection, trial_ids: Sequence[int]) -> None:
    """Makes locked RUNNING trials WAITING, and releases their leases.

    A curve stays, with the trial's start, until somebody goes on with it or rewinds it.
    """
    trials, steps = tables.trials, tables.intermediates
    forget_half_drawn(connection, trial_ids)
    begun = exists().where(steps.c.trial_id == trials.c.trial_id)
    connection.execute(
        update(trials)
        .where(among(trials.c.trial_id, trial_ids))
        .values(
            state=TrialState.WAITING,
            datetime_start=case((begun, trials.c.datetime_start), else_=None),
        )
    )
    end_leases(connection, trial_ids, worker_id=None, ended_at=None)


def forget_half_drawn(connection: Connection, trial_ids: Sequence[int]) -> None:
    """Deletes the parameters of trials that were still being drawn.

    These have no user attribute `config` yet. Each is drawn anew as a whole, and to the same
    values by a sampler that is seeded by its number.
    """
    params, attrs = tables.params, tables.user_attrs
    drawn = exists().where(attrs.c.trial_id == params.c.trial_id, attrs.c.key == "config")
    half = among(params.c.trial_id, trial_ids) & ~drawn
    connection.execute(delete(params).where(half))


def rewind(connection: Connection, trial_id: int, step: int) -> None:
    """Deletes what a locked trial has reached beyond `step`; 0: everything.

    So go the rungs that it reached there, with a verdict that may not have been carried out: those
    whose value the rest of the curve has not, or the deleted part too. A trial that loses a part of
    its curve starts anew: its start moves, by which whoever copies the curve knows.
    """
    trials, steps, attrs = tables.trials, tables.intermediates, tables.system_attrs
    curve = select(steps.c.step, steps.c.intermediate_value, steps.c.intermediate_value_type)
    rows = connection.execute(curve.where(steps.c.trial_id == trial_id)).all()
    values = [(at > step, tables.read_intermediate(value, kind)) for at, value, kind in rows]
    kept = {value for gone, value in values if not gone}
    kept -= {value for gone, value in values if gone}
    lost = 0
    for table in (steps, schema.points):
        beyond = (table.c.trial_id == trial_id) & (table.c.step > step)
        lost += connection.execute(delete(table).where(beyond)).rowcount
    rungs = (attrs.c.trial_id == trial_id) & attrs.c.key.startswith(
        "completed_rung_", autoescape=True
    )
    reached = connection.execute(select(attrs.c.key, attrs.c.value_json).where(rungs)).all()
    for key, text in reached:
        if json.loads(text) not in kept:
            connection.execute(delete(attrs).where(rungs & (attrs.c.key == key)))
    if lost:
        again = update(trials).where(trials.c.trial_id == trial_id)
        connection.execute(again.values(datetime_start=tables.now()))


def end_leases(connection: Connection, trial_ids: Sequence[int], **values: Any) -> None:
    """The leases of locked trials expire no more; the trials end now, unless `values` say else."""
    leases = schema.leases
    connection.execute(
        update(leases)
        .where(in_order(among(leases.c.trial_id, trial_ids)))
        .values({"expires_at": None, "ended_at": utc_now(), **values})
    )


def ended_under(
    connection: Connection, states: Mapping[int, TrialState], fence: Fence | None
) -> set[int]:
    """Locks trials; returns those that are in these states, their leases ended as the fence's."""
    leases, trials = schema.leases, tables.trials
    lock(connection, among(trials.c.trial_id, list(states)))
    rows = connection.execute(
        select(trials.c.trial_id, trials.c.state, leases.c.token, leases.c.expires_at)
        .select_from(trials.outerjoin(leases, leases.c.trial_id == trials.c.trial_id))
        .where(among(trials.c.trial_id, list(states)))
    )
    return {
        row.trial_id
        for row in rows
        if row.state == states[row.trial_id]
        and row.expires_at is None
        and (fence is None or fence.tokens.get(row.trial_id) == row.token)
    }


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


# Made once: one of them is part of every write.
_trials, _leases = tables.trials.c, schema.leases.c
_given = among(_trials.trial_id, bindparam("ids", type_=IDS))
_lock = _locking(_given)
_running = select(_trials.trial_id).where(_given, _trials.state == TrialState.RUNNING)
_running_here = _running.add_columns(_leases.token).where(
    _leases.trial_id == _trials.trial_id, _leases.worker_id == bindparam("worker")
)
