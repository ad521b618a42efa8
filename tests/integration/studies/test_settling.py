"""What dead workers left RUNNING, once somebody looks."""

from __future__ import annotations

from optuna.trial import TrialState
from sqlalchemy import update

from studies import Finish, Report, StudyStorage, claim, register, schema
from studies.fences import Fence
from studies.settling import settle


def silence(storage: StudyStorage, seconds: float) -> None:
    """As if no worker, whose leases are of 15 s, had been heard of for so long."""
    leases, workers = schema.leases, schema.workers
    with storage.engine.begin() as connection:
        past = update(leases).where(leases.c.expires_at.is_not(None))
        connection.execute(past.values(expires_at=schema.utc_in(15 - seconds)))
        connection.execute(update(workers).values(heartbeat=schema.utc_in(-seconds)))


def states(storage: StudyStorage, study_id: int) -> list[str]:
    return [trial.state.name for trial in storage.get_all_trials(study_id)]


def test_what_a_dead_worker_left_waits_once_somebody_looks(
    storage: StudyStorage, study_id: int
) -> None:
    lease, other = claim(storage, register(storage, study_id), 2).leases
    storage.finish([Finish(other.trial_id, TrialState.FAIL)])
    silence(storage, 50)
    settle(storage)
    assert states(storage, study_id) == ["WAITING", "FAIL"]
    late = Fence(1, {lease.trial_id: lease.token})
    assert storage.report([Report(lease.trial_id, 1, 0.5)], late) == {lease.trial_id}
    (again,) = claim(storage, register(storage, study_id), 1).leases
    assert (again.trial_id, again.token, again.attempt) == (lease.trial_id, 2, 2)
    settle(storage)
    assert states(storage, study_id) == ["RUNNING", "FAIL"]


def test_a_worker_whose_heartbeat_is_late_keeps_its_trial(
    storage: StudyStorage, study_id: int
) -> None:
    (lease,) = claim(storage, register(storage, study_id), 1).leases
    silence(storage, 40)
    settle(storage)
    assert states(storage, study_id) == ["RUNNING"]
    assert storage.report([Report(lease.trial_id, 1, 0.5)], Fence(1, {lease.trial_id: 1})) == set()


def test_a_trial_that_has_killed_three_workers_fails_when_somebody_looks(
    storage: StudyStorage, study_id: int
) -> None:
    for _ in range(3):
        claim(storage, register(storage, study_id), 1)
        silence(storage, 50)
    settle(storage)
    (trial,) = storage.get_all_trials(study_id)
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"] == "its worker died 3 times"
