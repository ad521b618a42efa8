"""What dead workers have left, given back when somebody looks: nobody has to take it over first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from studies import schema
from studies.bulk import among
from studies.fences import release_trials
from studies.leases import MAX_ATTEMPTS, expired, give_up
from studies.retrying import transaction
from studies.roster import Worker, find_workers
from studies.standing import lock_study
from studies.workers import bury

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studies.storage import StudyStorage


LONG_SILENT = 3.0  # leases; a heartbeat may come late, and then its worker goes on


def settle(storage: StudyStorage) -> None:
    """RUNNING trials of workers that are dead become WAITING, or FAIL after MAX_ATTEMPTS.

    As a claim would take them over: the attempt counts, and the old holder's writes are refused.
    Dead is a process of this machine that is gone, and a worker that was silent for LONG_SILENT
    leases.
    """
    with storage.engine.connect() as connection:
        studies = sorted({worker.study_id for worker in _dead(connection)})
    for study_id in studies:

        def give_back(connection: Connection, study_id: int = study_id) -> None:
            lock_study(connection, study_id)
            dead = [worker.worker_id for worker in _dead(connection) if worker.study_id == study_id]
            bury(connection, study_id)
            found = expired(connection, study_id, (), dead)
            give_up(connection, [x for x in found if x.attempt > MAX_ATTEMPTS], MAX_ATTEMPTS)
            ids = [lease.trial_id for lease in found if lease.attempt <= MAX_ATTEMPTS]
            release_trials(connection, ids)
            leases = schema.leases
            again = update(leases).where(among(leases.c.trial_id, ids))
            connection.execute(again.values(attempt=leases.c.attempt + 1))

        transaction(storage.engine, give_back)


def _dead(connection: Connection) -> list[Worker]:
    """Workers that are dead, of every study, whether they hold trials or not."""
    return [
        worker
        for worker in find_workers(connection)
        if worker.process.gone or worker.heartbeat_age > LONG_SILENT * worker.lease_seconds
    ]
