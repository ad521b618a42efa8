"""A sweep whose PostgreSQL server is restarted, or loses every connection, while it runs."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, select

from studies import StudyStorage, open_storage, queries, schema
from studies.retrying import DRAIN_SECONDS, SAID_AFTER_SECONDS
from sweeps.crew import OUT_OF_REACH
from tests.conftest import start_server, stop_server
from tests.e2e.runs import SWEEP, write

DOWN_SECONDS = float(os.environ.get("SWEEPLANE_DATABASE_DOWN", "2"))
KILL_SECONDS = int(os.environ.get("SWEEPLANE_CONNECTION_KILLS", "5"))
SLOW = SWEEP.replace("task: iris-mlp", "task: slow.py:make")
SLOW += "batch_size: 4\nearly_terminate: none\n"  # 0.6 s a trial

_logger = logging.getLogger(__name__)


@pytest.fixture
def url(own_server: Any) -> str:
    found: str = own_server.get_uri(driver="psycopg")
    return found


@pytest.fixture
def storage(url: str) -> Iterator[StudyStorage]:
    with open_storage(url) as opened:
        yield opened


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_of_the_server_is_a_pause(
    start: Callable[..., subprocess.Popen[str]],
    own_server: Any,
    storage: StudyStorage,
    url: str,
    tmp_path: Path,
    how: str,
) -> None:
    budget = 16
    run = begin(start, tmp_path, url, budget)
    wait_for(lambda: len(ended(storage)) >= 4, run)
    before = ended(storage)
    stop_server(own_server, how)
    time.sleep(DOWN_SECONDS)
    start_server(own_server)
    out = run.communicate(timeout=120)[0]
    assert run.returncode == 0, out
    check(storage, budget, before, test=f"restart, {how}", seconds_down=DOWN_SECONDS)
    if DOWN_SECONDS > 1 + SAID_AFTER_SECONDS:
        assert out.count(OUT_OF_REACH) == 1, out
        assert f"study DB {storage} is out of reach (" in out
        assert f"study DB {storage} is back after" in out


@pytest.mark.timeout(900)
def test_killed_connections_are_a_pause(
    start: Callable[..., subprocess.Popen[str]], storage: StudyStorage, url: str, tmp_path: Path
) -> None:
    """Every connection of the database but the killer's, once a second."""
    budget = 8 + 3 * KILL_SECONDS // 2
    run = begin(start, tmp_path, url, budget, epochs=20)  # 1.5 s a trial
    wait_for(lambda: len(ended(storage)) >= 2, run)
    before = ended(storage)
    killed = 0
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as killer:
        for _ in range(KILL_SECONDS):
            time.sleep(1.0)
            assert run.poll() is None, run.communicate()[0]
            killed += len(
                killer.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                ).all()
            )
    engine.dispose()
    out = run.communicate(timeout=600)[0]
    assert run.returncode == 0, out
    assert killed >= 3 * KILL_SECONDS
    facts = {"test": "kills", "seconds_of_kills": KILL_SECONDS, "killed": killed}
    check(storage, budget, before, epochs=20, **facts)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_a_sweep_without_its_database(
    start: Callable[..., subprocess.Popen[str]],
    own_server: Any,
    url: str,
    tmp_path: Path,
    workers: int,
) -> None:
    """The next run takes over what it had to leave behind."""
    run = begin(start, tmp_path, url, 6, workers)
    with open_storage(url) as storage:
        wait_for(lambda: len(ended(storage)) >= 2, run)
        before = ended(storage)
    stop_server(own_server, "fast")
    time.sleep(1.0)
    os.kill(run.pid, signal.SIGINT)
    began = time.monotonic()
    out = run.communicate(timeout=60)[0]
    assert time.monotonic() - began < DRAIN_SECONDS + 10
    assert run.returncode == 1, out
    assert "Error: study DB postgresql+psycopg://postgres:***@" in out
    assert "run the same command again when the database answers" in out
    assert "Traceback" not in out
    assert workers > 1 or out.count("is out of reach (") == 1, out  # it had said that it waits
    start_server(own_server)
    again = begin(start, tmp_path, url, 6, workers)
    out = again.communicate(timeout=120)[0]
    assert again.returncode == 0, out
    with open_storage(url) as storage:
        check(storage, 6, before, test="ctrl-c")


def begin(
    start: Callable[..., subprocess.Popen[str]],
    folder: Path,
    url: str,
    budget: int,
    workers: int = 2,
    epochs: int = 6,
) -> subprocess.Popen[str]:
    text = SLOW.replace("run_cap: 12", f"run_cap: {budget}")
    write(folder, text.replace("epochs: 6", f"epochs: {epochs}"))
    where = ("--tracking", "none", "--storage", url)
    return start("run", "sweep.yaml", *where, "--workers", str(workers))


def check(
    storage: StudyStorage,
    budget: int,
    before: dict[int, FrozenTrial],
    *,
    epochs: int = 6,
    **facts: object,
) -> None:
    """Nothing failed, was lost, doubled or left over."""
    trials = trials_of(storage)
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
    lost = [number for number, trial in before.items() if trials[number] != trial]
    curve = list(range(1, epochs + 1))
    gaps = [trial.number for trial in trials if sorted(trial.intermediate_values) != curve]
    with storage.engine.connect() as connection:
        attempts = connection.scalars(select(schema.leases.c.attempt)).all()
    more = {"failed": len(failed), "lost": len(lost), "gaps": len(gaps)}
    more |= {"duplicates": len(trials) - budget, "taken_over": sum(attempts) - len(attempts)}
    _logger.info("%s", json.dumps({**facts, "trials": len(trials), **more}))
    assert [trial.number for trial in trials] == list(range(budget))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}, failed
    assert lost == []
    assert gaps == []
    for trial in trials:
        assert trial.value == max(trial.intermediate_values.values()), trial
    status = queries.status(storage, "small")
    assert (status.status, status.running, status.workers) == ("finished", 0, [])


def trials_of(storage: StudyStorage) -> list[FrozenTrial]:
    try:
        study_id = storage.get_study_id_from_name("small")
    except KeyError:  # not there yet
        return []
    return storage.get_all_trials(study_id, deepcopy=False)


def ended(storage: StudyStorage) -> dict[int, FrozenTrial]:
    return {trial.number: trial for trial in trials_of(storage) if trial.state.is_finished()}


def wait_for(condition: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 180
    while not condition():
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < end, "not within 180 s"
        time.sleep(0.02)
