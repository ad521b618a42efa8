"""What dead workers have left, given back when somebody looks: nobody has to take it over first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState
from sqlalchemy import select, update

from studies import schema, tables
from studies.bulk import among
from studies.fences import release_trials
from studies.leases import MAX_ATTEMPTS, expired, give_up
from studies.retrying import retried, transaction
from studies.roster import find_workers
from studies.schema import utc_now
from studies.standing import lock_study
from studies.workers import bury

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studies.storage import StudyStorage


def settle(storage: StudyStorage) -> None:
    """RUNNING trials whose leases have expired become WAITING, or FAIL after MAX_ATTEMPTS.

    As a claim would take them over: the attempt counts, and the old holder's writes are refused.
    Before that the workers of this machine whose processes are gone are buried.
    """
    for study_id in _unsettled(storage):

        def give_back(connection: Connection, study_id: int = study_id) -> None:
            lock_study(connection, study_id)
            bury(connection, study_id)
            found = expired(connection, study_id, ())
            give_up(connection, [x for x in found if x.attempt > MAX_ATTEMPTS], MAX_ATTEMPTS)
            ids = [lease.trial_id for lease in found if lease.attempt <= MAX_ATTEMPTS]
            release_trials(connection, ids)
            leases = schema.leases
            again = update(leases).where(among(leases.c.trial_id, ids))
            connection.execute(again.values(attempt=leases.c.attempt + 1))

        transaction(storage.engine, give_back)


@retried
def _unsettled(storage: StudyStorage) -> list[int]:
    """The studies with a dead worker, or with a RUNNING trial whose lease has expired."""
    leases, trials = schema.leases, tables.trials
    left = (
        select(trials.c.study_id)
        .distinct()
        .join_from(leases, trials, trials.c.trial_id == leases.c.trial_id)
        .where(leases.c.expires_at <= utc_now(), trials.c.state == TrialState.RUNNING)
    )
    with storage.engine.connect() as connection:
        dead = {w.study_id for w in find_workers(connection) if w.process.gone}
        return sorted(dead.union(connection.scalars(left)))
