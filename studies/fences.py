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
from sqlalchemy import case, delete, exists, select, update

from studies import schema, tables
from studies.schema import utc_now

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection


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
        .where(trials.c.trial_id.in_(trial_ids))
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
    drawn = select(attrs.c.trial_id).where(attrs.c.key == "config")
    half = params.c.trial_id.in_(trial_ids) & params.c.trial_id.not_in(drawn)
    connection.execute(delete(params).where(half))


def rewind(connection: Connection, trial_id: int, step: int) -> None:
    """Deletes what a locked trial has reached beyond `step`; 0: everything.

    So go the rungs that it reached there, with a verdict that may not have been carried out: those
    whose value the rest of the curve has not. A trial that loses a part of its curve starts anew:
    its start moves, by which whoever copies the curve knows.
    """
    trials, steps, attrs = tables.trials, tables.intermediates, tables.system_attrs
    lost = 0
    for table in (steps, schema.points):
        beyond = (table.c.trial_id == trial_id) & (table.c.step > step)
        lost += connection.execute(delete(table).where(beyond)).rowcount
    curve = select(steps.c.intermediate_value, steps.c.intermediate_value_type)
    rows = connection.execute(curve.where(steps.c.trial_id == trial_id))
    kept = {tables.read_intermediate(value, kind) for value, kind in rows}
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
        .where(in_order(leases.c.trial_id.in_(trial_ids)))
        .values({"expires_at": None, "ended_at": utc_now(), **values})
    )


def ended_under(
    connection: Connection, states: Mapping[int, TrialState], fence: Fence | None
) -> set[int]:
    """Locks trials; returns those that are in these states, their leases ended as the fence's."""
    leases, trials = schema.leases, tables.trials
    lock(connection, trials.c.trial_id.in_(states))
    rows = connection.execute(
        select(trials.c.trial_id, trials.c.state, leases.c.token, leases.c.expires_at)
        .select_from(trials.outerjoin(leases, leases.c.trial_id == trials.c.trial_id))
        .where(trials.c.trial_id.in_(states))
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
    trials = tables.trials
    running = trials.c.trial_id.in_(trial_ids) & (trials.c.state == TrialState.RUNNING)
    return fenced(connection, lock(connection, running), fence)


def fenced(connection: Connection, trial_ids: Collection[int], fence: Fence | None) -> set[int]:
    """Which of these locked trials the caller may write to."""
    if fence is None or not trial_ids:
        return set(trial_ids)
    leases = schema.leases
    mine = (leases.c.worker_id == fence.worker_id) & leases.c.trial_id.in_(trial_ids)
    # A statement of its own: on PostgreSQL it sees what was committed while `lock` waited.
    rows = connection.execute(select(leases.c.trial_id, leases.c.token).where(mine))
    return {row.trial_id for row in rows if fence.tokens.get(row.trial_id) == row.token}


def lock(connection: Connection, condition: ColumnElement[bool]) -> dict[int, int]:
    """Locks trials; returns their numbers by id."""
    # One order for everybody, so that two processes never wait for each other's rows. SQLite has
    # no row locks; there BEGIN IMMEDIATE holds the whole database.
    trials = tables.trials
    rows = connection.execute(
        select(trials.c.trial_id, trials.c.number)
        .where(condition)
        .order_by(trials.c.trial_id)
        .with_for_update()
    )
    return {row.trial_id: row.number for row in rows}
