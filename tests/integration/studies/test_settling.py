"""What dead workers left RUNNING, once somebody looks."""

from __future__ import annotations

from optuna.trial import TrialState

from studies import Finish, Report, StudyStorage, claim, register
from studies.fences import Fence
from studies.settling import settle


def test_what_a_dead_worker_left_waits_once_somebody_looks(
    storage: StudyStorage, study_id: int
) -> None:
    worker = register(storage, study_id, lease_seconds=0.0)
    lease, other = claim(storage, worker, 2).leases
    storage.finish([Finish(other.trial_id, TrialState.FAIL)])
    settle(storage)
    assert [t.state.name for t in storage.get_all_trials(study_id)] == ["WAITING", "FAIL"]
    assert storage.report([Report(lease.trial_id, 1, 0.5)], Fence(1, {lease.trial_id: 1})) == {
        lease.trial_id
    }
    (again,) = claim(storage, register(storage, study_id), 1).leases
    assert (again.trial_id, again.token, again.attempt) == (lease.trial_id, 2, 2)
    settle(storage)
    assert storage.get_trial(lease.trial_id).state == TrialState.RUNNING


def test_a_trial_that_has_killed_three_workers_fails_when_somebody_looks(
    storage: StudyStorage, study_id: int
) -> None:
    for _ in range(3):
        claim(storage, register(storage, study_id, lease_seconds=0.0), 1)
    settle(storage)
    (trial,) = storage.get_all_trials(study_id)
    assert (trial.state, trial.user_attrs["reason"]) == (
        TrialState.FAIL,
        "its worker died 3 times",
    )
