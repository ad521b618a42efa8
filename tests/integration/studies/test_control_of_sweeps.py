"""What workers are told, cancelled trials, and what stops a sweep by itself, on both databases."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy import update

from studies import (
    Code,
    Ended,
    Finish,
    GoneError,
    Holding,
    Points,
    Registered,
    Report,
    StudyStorage,
    SweepRecord,
    UserError,
    attempts,
    break_loop,
    cancel_trials,
    claim,
    create_sweep,
    current_order,
    get_sweep,
    give,
    queries,
    register,
    renew,
    schema,
    sign_off,
)


def states(storage: StudyStorage, study_id: int) -> list[str]:
    return [trial.state.name for trial in storage.get_all_trials(study_id)]


def status(storage: StudyStorage) -> str:
    sweep = get_sweep(storage, "digits")
    assert sweep is not None
    return sweep.status


def test_a_paused_sweep_gives_nothing_out(storage: StudyStorage, study_id: int) -> None:
    first = Holding(storage, register(storage, study_id))
    (lease,) = first.claim(1).leases
    given = give(storage, "digits", "pause")
    assert (given.before.control, given.order.control, given.back) == ("run", "pause", [])
    assert [worker.worker_id for worker in given.workers] == [first.worker.worker_id]
    assert first.renew().order == given.order
    assert first.renew().lost == frozenset()  # its epoch ends before
    assert storage.report([Report(lease.trial_id, 1, 0.5)], first.fence) == set()
    refused = first.claim(1)
    assert (refused.leases, refused.order) == ((), given.order)
    second = register(storage, study_id)  # it joins, and waits
    assert second.order.control == "pause"
    again = give(storage, "digits", "pause")
    assert again.before == again.order == given.order  # since the first time
    assert give(storage, "digits", "run").order.reason is None
    assert len(claim(storage, second, 1).leases) == 1
    with pytest.raises(UserError, match="'digits' is neither paused nor stopped"):
        give(storage, "digits", "run")


def test_a_stopped_sweep_goes_on_with_a_run_or_a_resume(
    storage: StudyStorage, study_id: int
) -> None:
    worker = register(storage, study_id)
    give(storage, "digits", "pause")
    give(storage, "digits", "stop")
    assert renew(storage, worker, {}).order.control == "stop"
    sign_off(storage, worker, "drained")
    with pytest.raises(
        UserError, match=r"was stopped by `sweeps stop`\. To go on: sweeps run FILE"
    ):
        register(storage, study_id)
    with pytest.raises(UserError, match="was stopped already, so there is nothing to pause"):
        give(storage, "digits", "pause")
    leader = register(storage, study_id, leads=True)
    assert leader.order.control == "run"
    give(storage, "digits", "cancel")
    assert give(storage, "digits", "stop").order.control == "cancel"  # which is more
    with pytest.raises(UserError, match="was cancelled by `sweeps cancel`"):
        register(storage, study_id)
    give(storage, "digits", "run")
    assert register(storage, study_id).order.control == "run"


def test_cancel_gives_trials_back_before_their_workers_know(
    storage: StudyStorage, study_id: int
) -> None:
    held = Holding(storage, register(storage, study_id))
    leases = held.claim(2).leases
    plain = storage.create_new_trial(study_id)  # a program of Optuna's own has it
    storage.report([Report(leases[0].trial_id, 1, 0.5)], held.fence)
    assert give(storage, "digits", "cancel").back == [0, 1]
    assert states(storage, study_id) == ["WAITING", "WAITING", "RUNNING"]
    ids = {lease.trial_id for lease in leases}
    assert storage.report([Report(one, 2, 0.5) for one in ids], held.fence) == ids
    assert storage.finish([Finish(one, TrialState.FAIL) for one in ids], held.fence) == ids
    assert held.renew().lost == ids
    assert storage.get_trial(plain).state == TrialState.RUNNING
    assert sign_off(storage, held.worker, "drained") == []
    give(storage, "digits", "run")
    again = claim(storage, register(storage, study_id), 2).leases
    assert [(lease.number, lease.token, lease.attempt) for lease in again] == [(0, 2, 1), (1, 2, 1)]


def test_cancelled_trials_hold_no_place_and_stay_so(storage: StudyStorage, study_id: int) -> None:
    points = Points("grid", lambda taken: [n for n in range(3) if n not in held_points(taken)])
    held = Holding(storage, register(storage, study_id))
    running, other = held.claim(2, places=2, points=points).leases
    waiting = storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
    assert held.claim(1, places=2, points=points).full
    assert cancel_trials(storage, "digits", [0, 2]) == [0, 2]
    assert cancel_trials(storage, "digits", [0, 2]) == []
    assert states(storage, study_id) == ["FAIL", "RUNNING", "FAIL"]
    assert held.renew().lost == {running.trial_id}
    done = Finish(running.trial_id, TrialState.COMPLETE, [1.0])
    assert storage.finish([done], held.fence) == {running.trial_id}
    rows = {row.number: row for row in queries.leaderboard(storage, "digits")}
    assert [rows[n].outcome for n in range(3)] == ["cancelled", "running", "cancelled"]
    assert rows[2].reason == "cancelled by `sweeps cancel`"
    assert storage.get_trial(waiting).datetime_complete is not None
    held.drop(running.trial_id)
    (third,) = held.claim(3, places=2, points=points).leases
    grid = [trial.system_attrs.get("grid") for trial in storage.get_all_trials(study_id)]
    assert (third.number, grid) == (3, [0, 1, None, 2])  # not point 0 again
    storage.finish([Finish(other.trial_id, TrialState.COMPLETE, [1.0])], held.fence)
    with pytest.raises(
        UserError, match=r"trial 1 of study 'digits' has ended \(complete\)"
    ) as said:
        cancel_trials(storage, "digits", [1, 3, 9])
    assert "study 'digits' has no trial 9" in str(said.value)
    assert states(storage, study_id)[3] == "RUNNING"  # nothing was done


def held_points(taken: Sequence[tuple[int, bool]]) -> set[int]:
    return {index for index, failed in taken if not failed}


def one_cause(last: Sequence[Ended]) -> str | None:
    failed = [each.number for each in last if each.state == TrialState.FAIL]
    return f"{failed}: {last[0].reason}" if len(failed) == 3 else None


def fail(storage: StudyStorage, worker: Registered, *, state: str = "FAIL") -> None:
    held = Holding(storage, worker)
    (lease,) = held.claim(1).leases
    values = [1.0] if state == "COMPLETE" else None
    attrs = {"reason": "ValueError: x", "outcome": "failed"}
    storage.finish([Finish(lease.trial_id, TrialState[state], values, attrs)], held.fence)


def test_failures_of_all_workers_stop_a_sweep_once(storage: StudyStorage, study_id: int) -> None:
    first, second = (register(storage, study_id) for _ in range(2))
    for worker in (first, second):
        fail(storage, worker)
    fail(storage, first, state="COMPLETE")
    assert break_loop(storage, study_id, 3, one_cause).control == "run"
    for worker in (first, second):
        fail(storage, worker)
    claimed = claim(storage, second, 1).leases[0]
    cancel_trials(storage, "digits", [claimed.number])  # which is no success and no failure
    fail(storage, second)
    order = break_loop(storage, study_id, 3, one_cause)
    assert (order.control, order.reason) == ("stop", "[6, 4, 3]: ValueError: x")
    assert break_loop(storage, study_id, 3, lambda _: "another") == order
    assert renew(storage, first, {}).order == order
    assert current_order(storage, study_id, second.worker_id) == order
    for worker in (first, second):
        sign_off(storage, worker, "failed")
    with pytest.raises(UserError, match=r"was stopped: \[6, 4, 3\]: ValueError: x. To go on"):
        register(storage, study_id)
    leader = register(storage, study_id, leads=True)
    fail(storage, leader)
    assert break_loop(storage, study_id, 3, one_cause).control == "run"  # they begin anew
    assert status(storage) == "running"


def test_the_wall_clock_stands_still_in_a_pause(storage: StudyStorage, study_id: int) -> None:
    worker = register(storage, study_id, lease_seconds=20.0)
    turn_back(storage, 6)
    give(storage, "digits", "pause")
    paused = renew(storage, worker, {}).elapsed_seconds
    assert paused == pytest.approx(6.0, abs=3.0)  # what came before it counts
    turn_back(storage, 10)
    assert renew(storage, worker, {}).elapsed_seconds == paused
    turn_back(storage, 10)
    joined = register(storage, study_id, lease_seconds=20.0)
    assert joined.elapsed_seconds == paused
    turn_back(storage, 10)
    give(storage, "digits", "run")
    assert renew(storage, worker, {}).elapsed_seconds == pytest.approx(paused, abs=3.0)
    turn_back(storage, 7)
    assert renew(storage, joined, {}).elapsed_seconds == pytest.approx(paused + 7.0, abs=3.0)


def turn_back(storage: StudyStorage, seconds: float) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(elapsed_at=schema.utc_in(-seconds)))


def test_each_attempt_has_its_worker_and_code(storage: StudyStorage, study_id: int) -> None:
    codes = [Code(f"{n}" * 40, bool(n), {"packages": {"torch": f"2.{n}"}}) for n in range(2)]
    first = Holding(storage, register(storage, study_id, code=codes[0]))
    (lease,) = first.claim(1).leases
    storage.hand_back(study_id, [lease.trial_id], first.fence)
    second = Holding(storage, register(storage, study_id, code=codes[1]))
    second.claim(1)
    made = attempts(storage, "digits")[0]
    assert [(each.worker_id, each.git_commit, each.git_dirty) for each in made] == [
        (first.worker.worker_id, "0" * 40, False),
        (second.worker.worker_id, "1" * 40, True),
    ]
    assert [each.environment for each in made] == [code.environment for code in codes]
    assert attempts(storage, "digits", 0) == {0: made}
    assert attempts(storage, "digits", 1) == {}
    assert queries.status(storage, "digits").holding == {second.worker.worker_id: [0]}


def test_a_worker_of_a_deleted_study_is_told_so(storage: StudyStorage, study_id: int) -> None:
    worker = Holding(storage, register(storage, study_id))
    worker.claim(1)
    storage.delete_study(study_id)
    for call in (
        lambda: worker.claim(1),
        worker.renew,
        lambda: sign_off(storage, worker.worker, "finished"),
        lambda: current_order(storage, study_id, worker.worker.worker_id),
        lambda: storage.get_all_trials(study_id),
    ):
        with pytest.raises(GoneError):
            call()


def test_the_next_study_may_have_the_id_of_a_deleted_one(
    storage: StudyStorage, study_id: int, record: SweepRecord
) -> None:
    """As SQLite gives it: the old one's workers get nothing of it."""
    worker = Holding(storage, register(storage, study_id))
    storage.delete_study(study_id)
    new = create_sweep(storage, "next", ["minimize"], record)
    same = Holding(storage, worker.worker)
    for call in (lambda: same.claim(1), lambda: sign_off(storage, worker.worker, "failed")):
        with pytest.raises(GoneError):
            call()
    assert states(storage, new) == []
    sweep = get_sweep(storage, "next")
    assert sweep is not None
    assert sweep.status == "new"


def test_a_plain_optuna_study_has_no_workers(storage: StudyStorage) -> None:
    storage.create_new_study([StudyDirection.MINIMIZE], "plain")
    with pytest.raises(UserError, match="'plain' was not made by a sweep file"):
        give(storage, "plain", "pause")
    assert queries.status(storage, "plain").order is None
