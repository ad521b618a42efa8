"""The sweep of a study, and the processes that work on it: alive, silent, gone, one that leads."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from optuna.study import StudyDirection
from sqlalchemy import select, text, update

from studies import (
    StudyStorage,
    SweepRecord,
    UserError,
    claim,
    create_sweep,
    get_sweep,
    live_workers,
    register,
    renew,
    schema,
    sign_off,
)
from studies.processes import Process, started_at, started_by_ps, this_process
from studies.pulse import Pulse, read_pulse
from studies.workers import bury_dead
from tests.integration.studies.databases import set_status

LEAD = """
import sys
from studies import claim, get_sweep, open_storage, register
with open_storage(sys.argv[1]) as storage:
    worker = register(storage, get_sweep(storage, "digits").study_id, leads=True)
    claim(storage, worker, 2)
    print("leads", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def _leader(storage: StudyStorage) -> Iterator[subprocess.Popen[str]]:
    url = storage.url.render_as_string(hide_password=False)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", LEAD, url], **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "leads\n"
            yield process
        finally:
            process.kill()


def test_a_sweep_reads_back_as_it_was_written(
    storage: StudyStorage, study_id: int, record: SweepRecord
) -> None:
    sweep = get_sweep(storage, "digits")
    assert sweep is not None
    assert (sweep.study_id, sweep.name, sweep.record) == (study_id, "digits", record)
    assert sweep.status == "new"
    age = datetime.now(UTC).replace(tzinfo=None) - sweep.created_at
    assert abs(age.total_seconds()) < 60
    assert storage.get_study_directions(study_id) == [StudyDirection.MAXIMIZE]

    set_status(storage, study_id, "running")
    changed = get_sweep(storage, "digits")
    assert changed is not None
    assert changed.status == "running"
    assert changed.updated_at >= changed.created_at == sweep.created_at


def test_names_are_unique_and_plain_studies_are_no_sweeps(
    storage: StudyStorage, study_id: int, record: SweepRecord
) -> None:
    storage.create_new_study([StudyDirection.MINIMIZE], "plain")
    second = create_sweep(storage, "second", ["minimize", "maximize"], record)
    directions = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    assert storage.get_study_directions(second) == directions
    for name in ("digits", "plain"):
        with pytest.raises(UserError, match=f"study '{name}' exists already.*--name"):
            create_sweep(storage, name, ["minimize"], record)
    assert get_sweep(storage, "plain") is None
    found = [get_sweep(storage, name) for name in ("digits", "second")]
    assert [sweep.study_id for sweep in found if sweep] == [study_id, second]
    assert len(storage.get_all_studies()) == 3


def test_nobody_joins_a_sweep_that_is_not_there(storage: StudyStorage) -> None:
    with pytest.raises(KeyError, match="99"):
        register(storage, 99)


def test_one_leads_and_a_killed_one_is_buried_at_once(storage: StudyStorage, study_id: int) -> None:
    with _leader(storage) as leader:
        with pytest.raises(UserError, match=rf"'digits' is being run by process {leader.pid} "):
            register(storage, study_id, leads=True)
        me = register(storage, study_id)  # beside it
        pids = [worker.process.pid for worker in live_workers(storage, study_id)]
        assert pids == [leader.pid, this_process().pid]
        assert claim(storage, me, 9, places=2).elsewhere == 2

        # Not waited for, so a zombie is left, as below a parent that restarts its workers.
        leader.send_signal(signal.SIGKILL)
        while started_at(leader.pid) is not None:
            pass
        (left,) = live_workers(storage, study_id)
        assert left.worker_id == me.worker_id
        assert claim(storage, me, 9, places=2).leases == ()  # its leases last
        bury_dead(storage, study_id)
        leases = claim(storage, me, 9, places=2).leases
        assert [(lease.number, lease.token, lease.attempt) for lease in leases] == [
            (0, 2, 2),
            (1, 2, 2),
        ]
    assert register(storage, study_id, leads=True).leads


def test_a_worker_elsewhere_lives_while_its_heart_beats(
    storage: StudyStorage, study_id: int
) -> None:
    first = register(storage, study_id, leads=True, lease_seconds=30.0)
    assert sign_off(storage, first, "drained") == []
    leader = register(storage, study_id, leads=True, lease_seconds=30.0)
    (lease,) = claim(storage, leader, 1).leases
    _elsewhere(storage)
    _age(storage, 25)
    with pytest.raises(UserError, match=r"on 'elsewhere' \(heartbeat 25 s ago\).*sweeps worker"):
        register(storage, study_id, leads=True)
    _age(storage, 31)
    second = register(storage, study_id, leads=True)
    renewed = renew(storage, leader, {lease.trial_id: lease.token})
    assert not renewed.leads  # it was silent, and learns that another leads
    assert renewed.lost == frozenset()  # but nobody has taken its trial
    assert len(live_workers(storage, study_id)) == 2
    assert renew(storage, second, {}).leads


def test_a_heartbeat_carries_what_the_worker_does(storage: StudyStorage, study_id: int) -> None:
    leader, worker = register(storage, study_id, leads=True), register(storage, study_id)
    assert read_pulse(storage, study_id).workers == ()
    renew(storage, leader, {})
    renew(storage, worker, {}, {"steps": 7, "shares": {"asking": 0.25}})
    pulse = read_pulse(storage, study_id)
    assert [(one.worker_id, said) for one, said in pulse.workers] == [
        (worker.worker_id, {"steps": 7, "shares": {"asking": 0.25}})
    ]
    assert pulse.at is not None
    assert pulse.elapsed_seconds >= 0
    renew(storage, worker, {}, {"steps": 9})
    assert read_pulse(storage, study_id).workers[0][1] == {"steps": 9}
    sign_off(storage, worker, "drained")
    assert read_pulse(storage, study_id).workers == ()


def test_a_plain_optuna_study_has_no_pulse(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    assert read_pulse(storage, study_id) == Pulse(0.0, None, ())


def test_a_reused_process_id_is_not_the_worker(storage: StudyStorage, study_id: int) -> None:
    register(storage, study_id, leads=True)
    with storage.engine.begin() as connection:
        connection.execute(update(schema.workers).values(started=this_process().started - 1))
    assert live_workers(storage, study_id) == []
    register(storage, study_id, leads=True)
    with storage.engine.connect() as connection:
        workers = schema.workers.c
        ended = connection.scalars(select(workers.ended).order_by(workers.worker_id)).all()
    assert [moment is None for moment in ended] == [False, True]


def test_hosts_of_one_name_are_told_apart() -> None:
    """Containers may share a host's name, and have process ids of their own."""
    other = Process(this_process().host, "another boot", 2**22 + 1, 1.0)
    assert not other.gone
    assert Process(other.host, this_process().kernel, 2**22 + 1, 1.0).gone


def test_the_last_one_out_says_how_the_sweep_stands(storage: StudyStorage, study_id: int) -> None:
    first, second = (register(storage, study_id) for _ in range(2))
    assert _status(storage) == "running"
    taken = claim(storage, first, 2).leases
    claim(storage, second, 1)
    assert sign_off(storage, first, "failed") == [lease.number for lease in taken]
    assert _status(storage) == "running"
    states = [trial.state.name for trial in storage.get_all_trials(study_id)]
    assert states == ["WAITING", "WAITING", "RUNNING"]
    assert sign_off(storage, second, "finished") == [2]
    assert _status(storage) == "finished"
    assert live_workers(storage, study_id) == []


def test_the_wall_clock_runs_while_a_worker_lives(storage: StudyStorage, study_id: int) -> None:
    first = register(storage, study_id, lease_seconds=20.0)
    _turn_back(storage, 6)
    second = register(storage, study_id, lease_seconds=20.0)
    assert second.elapsed_seconds == pytest.approx(6.0, abs=3.0)
    _turn_back(storage, 4)
    both = renew(storage, first, {}).elapsed_seconds
    assert both == pytest.approx(10.0, abs=3.0)  # once, not once a worker
    sign_off(storage, first, "drained")
    sign_off(storage, second, "drained")
    _turn_back(storage, 5)  # nobody works
    third = register(storage, study_id, lease_seconds=20.0)
    assert third.elapsed_seconds == pytest.approx(10.0, abs=3.0)
    _turn_back(storage, 3600)  # a laptop's sleep
    assert renew(storage, third, {}).elapsed_seconds == pytest.approx(10.0, abs=3.0)


def _status(storage: StudyStorage) -> str:
    sweep = get_sweep(storage, "digits")
    assert sweep is not None
    return sweep.status


def _elsewhere(storage: StudyStorage) -> None:
    """Makes every worker one of another machine."""
    with storage.engine.begin() as connection:
        connection.execute(update(schema.workers).values(host="elsewhere", kernel="elsewhere"))


def _age(storage: StudyStorage, seconds: float) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(schema.workers).values(heartbeat=schema.utc_in(-seconds)))


def _turn_back(storage: StudyStorage, seconds: float) -> None:
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(elapsed_at=schema.utc_in(-seconds)))


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps here")
def test_ps_tells_processes_apart_too() -> None:
    pid = this_process().pid
    assert started_by_ps(pid) == started_by_ps(pid)
    age = datetime.now(UTC).timestamp() - (started_by_ps(pid) or 0.0)
    assert 0 <= age < 3600
    assert started_by_ps(2**22 + 1) is None


def test_the_database_keeps_utc(storage: StudyStorage, study_id: int) -> None:
    sweep = get_sweep(storage, "digits")
    assert sweep is not None
    assert sweep.study_id == study_id
    assert sweep.created_at.tzinfo is None
    if storage.engine.dialect.name == "postgresql":
        with storage.engine.connect() as connection:
            connection.execute(text("SET TIME ZONE 'Asia/Tokyo'"))
            now = connection.execute(schema.utc_now().select()).scalar_one()
        assert abs((now - sweep.created_at).total_seconds()) < 60
