"""Claims on real databases: exact budgets, takeovers, fences, and who wins a race."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import select, update

from studies import (
    Drawn,
    Finish,
    Holding,
    Lease,
    Points,
    Report,
    StudyStorage,
    claim,
    open_storage,
    queries,
    register,
    renew,
    schema,
)
from studies.fences import Fence

DONE = TrialState.COMPLETE


def expire(storage: StudyStorage) -> None:
    """Lets every lease run out, as if its worker had been silent."""
    leases = schema.leases
    past = update(leases).where(leases.c.expires_at.is_not(None))
    with storage.engine.begin() as connection:
        connection.execute(past.values(expires_at=schema.utc_in(-1.0)))


def states(storage: StudyStorage, study_id: int) -> list[str]:
    return [trial.state.name for trial in storage.get_all_trials(study_id)]


def test_new_trials_are_numbered_and_dated_as_optuna_does(
    storage: StudyStorage, study_id: int
) -> None:
    plain = storage.create_new_trial(study_id)
    worker = register(storage, study_id)
    found = claim(storage, worker, 2, places=4)
    assert [(each.number, each.token, each.attempt) for each in found.leases] == [
        (1, 1, 1),
        (2, 1, 1),
    ]
    trials = storage.get_all_trials(study_id)
    assert [trial.number for trial in trials] == [0, 1, 2]
    begun = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    assert abs((begun[1] - begun[0]).total_seconds()) < 60
    assert not found.full
    last = claim(storage, worker, 9, places=4, holding=[each.trial_id for each in found.leases])
    assert ([each.number for each in last.leases], last.full, last.elsewhere) == ([3], True, 0)
    assert claim(storage, worker, 9, places=4).leases == ()
    assert storage.get_trial(plain).state == TrialState.RUNNING


def test_a_failed_trial_gives_its_place_back_and_a_pruned_one_does_not(
    storage: StudyStorage, study_id: int
) -> None:
    holding = Holding(storage, register(storage, study_id))
    failed, pruned = holding.claim(5, places=2).leases
    outcomes = [
        Finish(failed.trial_id, TrialState.FAIL),
        Finish(pruned.trial_id, TrialState.PRUNED),
    ]
    assert storage.finish(outcomes, holding.fence) == set()
    assert [each.number for each in holding.claim(5, places=2).leases] == [2]


def test_waiting_trials_come_before_new_ones(storage: StudyStorage, study_id: int) -> None:
    worker = register(storage, study_id)
    for _ in range(3):
        storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
    first = claim(storage, worker, 2, places=2)
    assert [each.number for each in first.leases] == [0, 1]
    assert states(storage, study_id) == ["RUNNING", "RUNNING", "WAITING"]
    more = claim(storage, worker, 5, places=4)
    assert [each.number for each in more.leases] == [2, 3]


def test_an_expired_trial_goes_on_elsewhere(storage: StudyStorage, study_id: int) -> None:
    old = Holding(storage, register(storage, study_id))
    drawn, half = old.claim(2).leases
    lr = optuna.distributions.FloatDistribution(0.1, 1.0)
    config = {"config": {"lr": 0.5}}
    storage.draw(
        [Drawn(drawn.trial_id, {"lr": (0.5, lr)}, config), Drawn(half.trial_id, {"lr": (0.5, lr)})],
        old.fence,
    )
    rung = {drawn.trial_id: {"completed_rung_0": 0.5}}
    assert storage.set_system_attrs(rung, old.fence) == set()
    storage.report([Report(drawn.trial_id, 1, 0.5, {"x": 1.0})], old.fence)

    new = Holding(storage, register(storage, study_id))
    assert new.claim(5, places=2).elsewhere == 2
    expire(storage)
    again = new.claim(5, places=2)
    assert [(each.number, each.token, each.attempt) for each in again.leases] == [
        (0, 2, 2),
        (1, 2, 2),
    ]
    kept, redrawn = storage.get_all_trials(study_id)
    assert (kept.params, kept.user_attrs) == ({"lr": 0.5}, config)
    assert redrawn.params == {}
    assert kept.system_attrs == {"completed_rung_0": 0.5}
    assert queries.curves(storage, "digits")[0]["x"] == [(1, 1.0)]
    assert storage.draw([Drawn(drawn.trial_id, {}, rewind=0)], old.fence) == {drawn.trial_id}
    assert storage.get_trial(drawn.trial_id) == kept
    assert storage.draw([Drawn(drawn.trial_id, {}, rewind=0)], new.fence) == set()
    kept = storage.get_trial(drawn.trial_id)
    assert (kept.params, kept.user_attrs, kept.system_attrs) == ({"lr": 0.5}, config, {})
    assert queries.curves(storage, "digits") == {}

    # the old one wakes up: nothing of it is written, and its next renewal tells it
    both = {drawn.trial_id, half.trial_id}
    assert storage.report([Report(drawn.trial_id, 2, 0.9, {"x": 2.0})], old.fence) == {
        drawn.trial_id
    }
    assert storage.draw([Drawn(half.trial_id, {"lr": (0.7, lr)})], old.fence) == {half.trial_id}
    assert storage.set_system_attrs(rung, old.fence) == {drawn.trial_id}
    stale = [Finish(trial_id, DONE, [0.9], {"late": 1}) for trial_id in sorted(both)]
    assert storage.finish(stale, old.fence) == both
    assert storage.hand_back(study_id, both, old.fence) == []
    assert storage.get_all_trials(study_id) == [kept, redrawn]
    assert old.renew().lost == both
    assert new.renew().lost == frozenset()

    outcomes = [Finish(trial_id, DONE, [0.9]) for trial_id in sorted(both)]
    assert storage.finish(outcomes, new.fence) == set()
    assert storage.finish(outcomes, new.fence) == both


def test_an_expired_lease_that_nobody_took_is_renewed(storage: StudyStorage, study_id: int) -> None:
    holding = Holding(storage, register(storage, study_id))
    (lease,) = holding.claim(1).leases
    expire(storage)
    assert holding.claim(1, places=1).leases == ()  # never its own
    assert storage.report([Report(lease.trial_id, 1, 0.5)], holding.fence) == set()
    assert holding.renew().lost == frozenset()
    other = register(storage, study_id)
    assert claim(storage, other, 1, places=1).leases == ()


def test_after_three_deaths_a_trial_fails_and_the_place_is_free(
    storage: StudyStorage, study_id: int
) -> None:
    for attempt in (1, 2, 3):
        worker = register(storage, study_id)
        (lease,) = claim(storage, worker, 1, places=1).leases
        assert (lease.number, lease.attempt, lease.token) == (0, attempt, attempt)
        expire(storage)
    found = claim(storage, register(storage, study_id), 1, places=1)
    assert found.given_up == (0,)
    assert [each.number for each in found.leases] == [1]
    row = next(row for row in queries.leaderboard(storage, "digits") if row.number == 0)
    assert (row.state, row.outcome, row.reason) == ("FAIL", "failed", "its worker died 3 times")


def test_a_drained_trial_keeps_its_attempt_and_its_token_grows(
    storage: StudyStorage, study_id: int
) -> None:
    holding = Holding(storage, register(storage, study_id))
    for turn in (1, 2, 3, 4, 5):
        (lease,) = holding.claim(1, places=1).leases
        assert (lease.number, lease.attempt, lease.token) == (0, 1, turn)
        assert storage.hand_back(study_id, [lease.trial_id], holding.fence) == [0]


def test_running_trials_of_optunas_own_programs_are_left_alone(
    storage: StudyStorage, study_id: int
) -> None:
    holding = Holding(storage, register(storage, study_id))
    (lease,) = holding.claim(1).leases
    storage.hand_back(study_id, [lease.trial_id], holding.fence)
    study = optuna.load_study(study_name="digits", storage=storage)
    assert study.ask().number == 0  # it was ours, and waited
    assert study.ask().number == 1
    expire(storage)
    found = holding.claim(5, places=3)
    assert [each.number for each in found.leases] == [2]
    assert (found.elsewhere, found.full) == (0, True)
    study.tell(0, 0.5)
    study.tell(1, state=TrialState.FAIL)
    assert [each.number for each in holding.claim(5, places=3).leases] == [3]


def test_points_are_given_out_once(storage: StudyStorage, study_id: int) -> None:
    def free(taken: Sequence[tuple[int, bool]]) -> list[int]:
        held = {index for index, failed in taken if not failed}
        return [index for index in range(3) if index not in held]

    points = Points("grid", free)
    first, second = (Holding(storage, register(storage, study_id)) for _ in range(2))
    one = first.claim(2, points=points)
    two = second.claim(2, points=points)
    assert (len(one.leases), len(two.leases)) == (2, 1)
    assert second.claim(2, points=points).leases == ()
    attrs = [trial.system_attrs for trial in storage.get_all_trials(study_id)]
    assert attrs == [{"grid": 0}, {"grid": 1}, {"grid": 2}]
    storage.finish([Finish(one.leases[1].trial_id, TrialState.FAIL)], first.fence)
    (again,) = second.claim(2, points=points).leases
    assert storage.get_trial(again.trial_id).system_attrs == {"grid": 1}


def test_plain_calls_need_no_lease(storage: StudyStorage, study_id: int) -> None:
    (lease,) = claim(storage, register(storage, study_id), 1).leases
    assert storage.report([Report(lease.trial_id, 1, 0.5)]) == set()
    assert storage.report([Report(lease.trial_id, 1, 0.5)], Fence(0, {})) == {lease.trial_id}
    assert storage.finish([Finish(lease.trial_id, DONE, [0.5])]) == set()


def test_renewing_for_a_deleted_study_says_so(storage: StudyStorage, study_id: int) -> None:
    worker = register(storage, study_id)
    (lease,) = claim(storage, worker, 1).leases
    storage.delete_study(study_id)
    for call in (
        lambda: renew(storage, worker, {lease.trial_id: 1}),
        lambda: claim(storage, worker, 1),
    ):
        with pytest.raises(KeyError):
            call()


def at_once(url: str, count: int, work: Callable[[StudyStorage, int], None]) -> None:
    """Runs `work` on so many threads, each with connections of its own."""
    start = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(place: int) -> None:
        try:
            with open_storage(url) as own:
                start.wait()
                work(own, place)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_of_those_that_take_over_one_trial_at_once_one_wins(
    storage: StudyStorage, study_id: int, database_url: str
) -> None:
    dead = register(storage, study_id)
    ids = {lease.trial_id for lease in claim(storage, dead, 8).leases}
    expire(storage)
    won: list[Lease] = []

    def take(own: StudyStorage, _: int) -> None:
        won.extend(claim(own, register(own, study_id), 8, places=8).leases)

    at_once(database_url, 4, take)
    assert Counter(lease.trial_id for lease in won) == Counter(dict.fromkeys(ids, 1))
    assert {(lease.token, lease.attempt) for lease in won} == {(2, 2)}


def test_the_budget_is_exact_for_many_at_once(
    storage: StudyStorage, study_id: int, database_url: str
) -> None:
    """Four workers beat, claim, report and finish at once, and one in three trials fails."""

    def work(own: StudyStorage, place: int) -> None:
        holding = Holding(own, register(own, study_id))
        while leases := holding.claim(1 + place % 2, places=24).leases:
            ids = [lease.trial_id for lease in leases]
            assert (
                own.report([Report(trial_id, 1, 0.5) for trial_id in ids], holding.fence) == set()
            )
            assert holding.renew().lost == frozenset()
            ends = [
                Finish(lease.trial_id, TrialState.FAIL if lease.number % 3 == 0 else DONE, [0.5])
                for lease in leases
            ]
            assert own.finish(ends, holding.fence) == set()
            for trial_id in ids:
                holding.drop(trial_id)

    at_once(database_url, 4, work)
    trials = storage.get_all_trials(study_id)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert Counter(trial.state for trial in trials)[DONE] == 24
    with storage.engine.connect() as connection:
        open_leases = select(schema.leases).where(schema.leases.c.expires_at.is_not(None))
        assert connection.execute(open_leases).all() == []


def test_places_may_be_without_end(storage: StudyStorage, study_id: int) -> None:
    worker = register(storage, study_id)
    assert len(claim(storage, worker, 3, places=math.inf).leases) == 3
