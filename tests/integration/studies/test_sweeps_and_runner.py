"""The sweep of a study, and the lock on it, taken over from processes that were killed."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from optuna.study import StudyDirection
from sqlalchemy import text, update

from studies import (
    StudyStorage,
    SweepRecord,
    UserError,
    acquire_runner,
    beat,
    create_sweep,
    get_runner,
    get_sweep,
    list_sweeps,
    release_runner,
    schema,
    set_status,
)
from studies.runner import started_at, started_by_ps, this_process

HOLD = """
import sys
from studies import acquire_runner, get_sweep, open_storage
with open_storage(sys.argv[1]) as storage:
    acquire_runner(storage, get_sweep(storage, "digits").study_id)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def _holder(storage: StudyStorage) -> Iterator[subprocess.Popen[str]]:
    url = storage.url.render_as_string(hide_password=False)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, url], **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
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
    assert [sweep.study_id for sweep in list_sweeps(storage)] == [study_id, second]
    assert len(storage.get_all_studies()) == 3


def test_status_refuses_what_it_does_not_know(storage: StudyStorage, study_id: int) -> None:
    with pytest.raises(ValueError, match="'paused', not one of new, running"):
        set_status(storage, study_id, "paused")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="99"):
        set_status(storage, 99, "running")
    with pytest.raises(KeyError, match="99"):
        acquire_runner(storage, 99)


def test_a_live_runner_keeps_others_out_and_a_killed_one_does_not(
    storage: StudyStorage, study_id: int
) -> None:
    with _holder(storage) as holder:
        with pytest.raises(UserError, match=rf"'digits' is being run by process {holder.pid} "):
            acquire_runner(storage, study_id)
        assert not beat(storage, study_id)
        release_runner(storage, study_id)
        held = get_runner(storage, study_id)
        assert held is not None
        assert (held.process.pid, held.alive) == (holder.pid, True)

        # Not waited for, so a zombie is left, as below a parent that restarts its workers.
        holder.send_signal(signal.SIGKILL)
        while started_at(holder.pid) is not None:
            pass
        left = get_runner(storage, study_id)
        assert left is not None
        assert not left.alive
        acquire_runner(storage, study_id)
    taken = get_runner(storage, study_id)
    assert taken is not None
    assert (taken.process, taken.alive) == (this_process(), True)


def test_the_holder_beats_takes_again_and_releases(storage: StudyStorage, study_id: int) -> None:
    assert get_runner(storage, study_id) is None
    acquire_runner(storage, study_id)
    acquire_runner(storage, study_id)
    _age(storage, study_id, seconds=3600)
    old = get_runner(storage, study_id)
    assert old is not None
    assert 3590 < old.heartbeat_age < 3700
    assert old.alive
    assert beat(storage, study_id)
    young = get_runner(storage, study_id)
    assert young is not None
    assert 0 <= young.heartbeat_age < 60
    release_runner(storage, study_id)
    assert get_runner(storage, study_id) is None
    assert not beat(storage, study_id)


def test_a_reused_process_id_is_not_the_runner(storage: StudyStorage, study_id: int) -> None:
    acquire_runner(storage, study_id)
    me = this_process()
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(runner_started=me.started - 1))
    stale = get_runner(storage, study_id)
    assert stale is not None
    assert not stale.alive
    acquire_runner(storage, study_id)
    assert beat(storage, study_id)


@pytest.mark.parametrize(("age", "alive"), [(50, True), (70, False)])
def test_a_runner_elsewhere_lives_while_its_heart_beats(
    storage: StudyStorage, study_id: int, age: int, alive: bool
) -> None:
    acquire_runner(storage, study_id)
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(runner_host="elsewhere"))
    _age(storage, study_id, seconds=age)
    if alive:
        with pytest.raises(UserError, match="on 'elsewhere'"):
            acquire_runner(storage, study_id)
    else:
        acquire_runner(storage, study_id)
        assert beat(storage, study_id)


def test_of_two_that_find_a_dead_runner_one_wins(storage: StudyStorage, study_id: int) -> None:
    gone = {"runner_host": this_process().host, "runner_pid": 2**22 + 1, "runner_started": 1.0}
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(runner_heartbeat=schema.utc_now(), **gone))
    url = storage.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", HOLD, url]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    both = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    # The loser ends by itself; only then may the winner end, or the loser would follow it.
    said = []
    while len(said) < 1:
        said += [process for process in both if process.poll() is not None]
    (loser,) = said
    (winner,) = (process for process in both if process is not loser)
    assert winner.stdout.readline() == "held\n"
    winner.communicate("")
    assert f"is being run by process {winner.pid}" in loser.communicate()[1]
    assert (winner.returncode, loser.returncode) == (0, 1)
    left = get_runner(storage, study_id)
    assert left is not None
    assert left.process.pid == winner.pid


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps here")
def test_ps_tells_processes_apart_too() -> None:
    pid = this_process().pid
    assert started_by_ps(pid) == started_by_ps(pid)
    age = datetime.now(UTC).timestamp() - (started_by_ps(pid) or 0.0)
    assert 0 <= age < 3600
    assert started_by_ps(2**22 + 1) is None


def _age(storage: StudyStorage, study_id: int, *, seconds: int) -> None:
    """Moves the heartbeat into the past."""
    runner = get_runner(storage, study_id)
    assert runner is not None
    past = runner.heartbeat - timedelta(seconds=seconds)
    with storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(runner_heartbeat=past))


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
