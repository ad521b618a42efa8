"""Real losses: a COMMIT without an answer, killed connections, a stopped server, locks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError

from studies import (
    Finish,
    Holding,
    OutOfReachError,
    Report,
    StudyStorage,
    SweepRecord,
    create_sweep,
    live_workers,
    open_storage,
    register,
    schema,
    sign_off,
)
from studies.retrying import at_most, hurry, lost, retried, take_time
from studies.standing import lock_study
from tests.conftest import start_server, stop_server

TERMINATE = "SELECT pg_terminate_backend(:pid)"


@pytest.fixture
def pg(postgres_db: str) -> Iterator[StudyStorage]:
    with open_storage(postgres_db) as storage:
        yield storage


@pytest.fixture
def study(pg: StudyStorage, record: SweepRecord) -> int:
    return create_sweep(pg, "digits", ["maximize"], record)


class Cut:
    """Ends the next transaction of `storage` that commits: its COMMIT arrives, its answer not."""

    def __init__(self, storage: StudyStorage) -> None:
        self.cuts = 0
        self._armed = False
        self._engine = storage.engine
        event.listen(self._engine, "commit", self._commit)

    def after(self, call: Callable[[], Any]) -> Any:
        self.cuts, self._armed = 0, True
        found = call()
        assert self.cuts == 1
        return found

    def _commit(self, connection: Connection) -> None:
        if not self._armed:
            return
        self._armed, self.cuts = False, self.cuts + 1
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        connection.exec_driver_sql("COMMIT")
        with self._engine.connect() as other:
            other.execute(text(TERMINATE), {"pid": pid})
        connection.exec_driver_sql("SELECT pg_sleep(5)")  # the client sees that it is cut off


def test_a_claim_whose_answer_was_lost_is_found_again(pg: StudyStorage, study: int) -> None:
    cut, holding = Cut(pg), Holding(pg, register(pg, study))
    found = cut.after(lambda: holding.claim(3, places=4))
    assert [(x.number, x.token, x.attempt) for x in found.leases] == [(n, 1, 1) for n in range(3)]
    assert [trial.number for trial in pg.get_all_trials(study)] == [0, 1, 2]
    assert found.leases == tuple(sorted(found.leases, key=lambda lease: lease.number))
    (last,) = holding.claim(3, places=4).leases
    assert last.number == 3


def test_a_claim_whose_commit_did_not_arrive_is_made_again(pg: StudyStorage, study: int) -> None:
    holding, cuts = Holding(pg, register(pg, study)), []

    def cut(connection: Connection) -> None:
        if not cuts:
            cuts.append(pid := connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            with pg.engine.connect() as other:
                other.execute(text(TERMINATE), {"pid": pid})

    event.listen(pg.engine, "commit", cut)
    found = holding.claim(2, places=4)
    assert [(x.number, x.token, x.attempt) for x in found.leases] == [(0, 1, 1), (1, 1, 1)]
    assert len(cuts) == 1
    assert len(pg.get_all_trials(study)) == 2


def test_a_finish_whose_answer_was_lost_counts_and_is_not_refused(
    pg: StudyStorage, study: int
) -> None:
    holding = Holding(pg, register(pg, study))
    one, gone = holding.claim(2).leases
    pg.finish([Finish(gone.trial_id, TrialState.FAIL)])
    done = [
        Finish(one.trial_id, TrialState.COMPLETE, [0.5]),
        Finish(gone.trial_id, TrialState.COMPLETE, [0.7]),
    ]
    assert Cut(pg).after(lambda: pg.finish(done, holding.fence)) == {gone.trial_id}
    trials = pg.get_all_trials(study)
    assert [(trial.state.name, trial.values) for trial in trials] == [
        ("COMPLETE", [0.5]),
        ("FAIL", None),
    ]
    assert pg.finish(done[:1], holding.fence) == {one.trial_id}  # a call of its own is too late


def test_reports_and_hand_backs_whose_answers_were_lost_say_what_they_did(
    pg: StudyStorage, study: int
) -> None:
    holding, cut = Holding(pg, register(pg, study)), Cut(pg)
    (lease,) = holding.claim(1).leases
    point = Report(lease.trial_id, 1, 0.25, {"train/loss": 2.0})
    assert cut.after(lambda: pg.report([point], holding.fence)) == set()
    assert pg.get_trial(lease.trial_id).intermediate_values == {1: 0.25}
    ids = [lease.trial_id]
    assert cut.after(lambda: pg.hand_back(study, ids, holding.fence)) == [0]
    assert pg.get_trial(lease.trial_id).state == TrialState.WAITING
    (again,) = holding.claim(1).leases
    assert (again.number, again.token, again.attempt) == (0, 2, 1)


def test_registering_and_leaving_happen_once(
    pg: StudyStorage, study: int, record: SweepRecord
) -> None:
    cut = Cut(pg)
    me = cut.after(lambda: register(pg, study, leads=True))
    assert [worker.worker_id for worker in live_workers(pg, study)] == [me.worker_id]
    (lease,) = Holding(pg, me).claim(1).leases
    assert cut.after(lambda: sign_off(pg, me, "drained")) == [lease.number]
    assert live_workers(pg, study) == []
    with pg.engine.connect() as connection:
        assert connection.scalars(select(schema.workers.c.worker_id)).all() == [me.worker_id]
        assert connection.scalar(select(schema.sweeps.c.status)) == "drained"
    other = cut.after(lambda: create_sweep(pg, "iris", ["minimize"], record))
    assert pg.get_study_id_from_name("iris") == other


def test_what_does_not_go_away_fails_at_once(pg: StudyStorage, study: int) -> None:
    (lease,) = Holding(pg, register(pg, study)).claim(1).leases
    for setting, state in (
        ("default_transaction_read_only=on", "25006"),
        ("statement_timeout=200", "57014"),
    ):
        url = pg.url.update_query_dict({"options": f"-c {setting}"})
        with StudyStorage(url.render_as_string(hide_password=False)) as limited:
            began = time.monotonic()
            with pytest.raises(DBAPIError) as failed:
                _slow_write(limited, lease.trial_id)
            assert failed.value.orig.sqlstate == state  # type: ignore[union-attr]
            assert time.monotonic() - began < 5


@retried
def _slow_write(storage: StudyStorage, trial_id: int) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE trials SET number = number WHERE trial_id = {trial_id}")
        connection.exec_driver_sql("SELECT pg_sleep(1)")


def test_a_connection_that_was_ended_is_replaced_before_it_is_used(pg: StudyStorage) -> None:
    def pids() -> list[int]:
        """The server's processes for our own engine and for Optuna's."""
        found = []
        for engine in (pg.engine, pg.inner.engine):  # type: ignore[attr-defined]
            with engine.connect() as connection:
                found.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        return found

    before = pids()
    assert pids() == before
    killer = create_engine(pg.url)
    with killer.connect() as connection:
        for pid in before:
            assert connection.scalar(select(func.pg_terminate_backend(pid, 5000)))  # and waits
    killer.dispose()
    assert len({*before, *pids()}) == 4


def test_which_errors_of_sqlite_are_a_pause(tmp_path: Any) -> None:
    with open_storage(f"sqlite:///{tmp_path / 'a.db'}?timeout=0.1") as storage:
        seen = {}
        for name, pragma in (("full", "max_page_count = 1"), ("readonly", "query_only = on")):
            with storage.engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA {pragma}")
                with pytest.raises(DBAPIError) as failed:
                    connection.exec_driver_sql("CREATE TABLE a AS SELECT zeroblob(99999)")
                seen[name] = failed.value
                connection.invalidate()
        assert {name: lost(error) for name, error in seen.items()} == {
            "full": None,
            "readonly": None,
        }
        with storage.engine.connect() as holder, storage.engine.connect() as other:
            holder.exec_driver_sql("CREATE TABLE b (x)")
            with pytest.raises(DBAPIError) as failed:
                other.exec_driver_sql("CREATE TABLE c (x)")
            assert lost(failed.value) is failed.value


def test_a_sqlite_file_that_is_locked_for_long_is_waited_for(
    tmp_path: Any, record: SweepRecord
) -> None:
    with open_storage(f"sqlite:///{tmp_path / 'a.db'}?timeout=0.1") as storage:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        holding = Holding(storage, register(storage, study_id))
        held = storage.engine.execution_options(immediate=True).connect()
        held.begin()
        with at_most(0), pytest.raises(OutOfReachError, match="database is locked"):
            holding.claim(1)
        timer = threading.Timer(1.0, held.close)
        timer.start()
        began = time.monotonic()
        (lease,) = holding.claim(1).leases
        assert (lease.number, lease.token) == (0, 1)
        assert time.monotonic() - began > 0.5
        timer.join()


def test_a_process_that_is_paused_in_a_transaction_holds_nobody_up(
    postgres_db: str, record: SweepRecord
) -> None:
    url = f"{postgres_db}&options=-c%20idle_in_transaction_session_timeout%3D1s"
    with open_storage(url) as storage, storage.engine.connect() as paused:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        lock_study(paused, study_id)
        me = register(storage, study_id)  # waits for the lock, and gets it
        assert me.worker_id == live_workers(storage, study_id)[0].worker_id
        with pytest.raises(DBAPIError) as ended:
            paused.exec_driver_sql("SELECT 1")
        assert lost(ended.value) is ended.value


def test_the_server_limits_are_those_of_the_module_unless_the_url_has_others(
    postgres_db: str,
) -> None:
    def limits(url: str) -> list[str]:
        names = ("statement_timeout", "idle_in_transaction_session_timeout")
        with StudyStorage(url) as storage, storage.engine.connect() as connection:
            return [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]

    assert limits(postgres_db) == ["1min", "20s"]
    assert limits(f"{postgres_db}&options=-c%20statement_timeout%3D5s") == ["5s", "20s"]


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_stopped_server_is_waited_for_and_said_once(
    own_server: Any, record: SweepRecord, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    url = own_server.get_uri(driver="psycopg")
    with open_storage(url) as storage:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        holding = Holding(storage, register(storage, study_id))
        (lease,) = holding.claim(1).leases
        storage.get_study_directions(study_id)  # Optuna's engine has a connection too
        stop_server(own_server, how)
        began = time.monotonic()
        with pytest.raises(OutOfReachError, match="Nothing that had finished is lost"):
            holding_with_short_lease(holding).renew()
        assert time.monotonic() - began < 3
        # The warning comes with the first try after 3 s, and tries are up to 2 s apart.
        starting = threading.Timer(6.0, start_server, [own_server])
        starting.start()
        points = [Report(lease.trial_id, epoch, 0.5) for epoch in (1, 2)]
        reads = threading.Thread(target=storage.get_study_directions, args=[study_id])
        reads.start()
        with caplog.at_level(logging.WARNING, "studies"):
            assert storage.report(points, holding.fence) == set()
            reads.join()
        starting.join()
        assert storage.get_trial(lease.trial_id).intermediate_values == {1: 0.5, 2: 0.5}
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2
        assert said[0].startswith(f"study DB {storage} is out of reach (")
        assert said[0].endswith("); trying again for up to 300 s")
        assert said[1].startswith(f"study DB {storage} is back after ")


def holding_with_short_lease(holding: Holding) -> Holding:
    short = replace(holding.worker, lease_seconds=1.5)
    return Holding(holding.storage, short, holding.tokens)


def test_a_process_that_was_told_to_end_does_not_wait_long(
    own_server: Any, record: SweepRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.retrying.DRAIN_SECONDS", 1.0)
    with open_storage(own_server.get_uri(driver="psycopg")) as storage:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        me = register(storage, study_id)
        stop_server(own_server, "fast")
        threading.Timer(0.5, hurry).start()
        began = time.monotonic()
        try:
            with pytest.raises(OutOfReachError):
                storage.get_all_trials(study_id)
            assert 0.4 < time.monotonic() - began < 5
            again = time.monotonic()
            with pytest.raises(OutOfReachError):
                sign_off(storage, me, "drained")
            assert time.monotonic() - again < 1
        finally:
            take_time()
        start_server(own_server)
        assert sign_off(storage, me, "drained") == []
