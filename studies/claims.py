"""By whose code each attempt at a trial was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studies import schema, tables
from studies.lookup import find_study

if TYPE_CHECKING:
    from studies.storage import StudyStorage


@dataclass(frozen=True)
class Attempt:
    """A worker that took a trial, with what it trained it."""

    worker_id: int
    host: str
    pid: int
    device: str
    version: str  # of Sweeplane
    git_commit: str | None  # None: unknown, or outside git
    git_dirty: bool | None
    environment: Mapping[str, Any] | None
    claimed_at: datetime  # naive UTC, by the database's clock


def attempts(
    storage: StudyStorage, study_name: str, number: int | None = None
) -> dict[int, list[Attempt]]:
    """Who took each trial (or the one with `number`), by its number, the first one first.

    Trials from before there were `claims` are not there.

    Raises:
        UserError: no such study.
    """
    claims, workers, trials = schema.claims, schema.workers, tables.trials
    columns = [workers.c[name] for name in Attempt.__dataclass_fields__ if name != "claimed_at"]
    query = (
        select(trials.c.number, *columns, claims.c.claimed_at)
        .join_from(claims, trials, trials.c.trial_id == claims.c.trial_id)
        .join(workers, workers.c.worker_id == claims.c.worker_id)
        .order_by(claims.c.trial_id, claims.c.token)
    )
    found: dict[int, list[Attempt]] = {}
    with storage.engine.connect() as connection:
        query = query.where(trials.c.study_id == find_study(connection, study_name).study_id)
        if number is not None:
            query = query.where(trials.c.number == number)
        for first, *rest in connection.execute(query):
            found.setdefault(first, []).append(Attempt(*rest))
    return found
