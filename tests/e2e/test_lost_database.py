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
from studies.retrying import DRAIN_SECONDS
from sweeps.crew import OUT_OF_REACH
from tests.conftest import start_server, stop_server
from tests.e2e.faults.scene import children, ended, trials_of
from tests.e2e.runs import SWEEP, write
from tests.waiting import happens

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
    down = time.monotonic()
    out = said(run, f"study DB {storage} is out of reach (") if how == "fast" else ""
    time.sleep(max(0.0, down + DOWN_SECONDS - time.monotonic()))
    start_server(own_server)
    down = time.monotonic() - down
    out += rest(run)
    assert run.returncode == 0, out
    check(storage, budget, before, test=f"restart, {how}", seconds_down=round(down, 1))
    if how == "fast":
        assert out.count(OUT_OF_REACH) == 1, out
        assert f"study DB {storage} is back after" in out


def test_a_worker_that_is_started_without_its_database_waits_for_it(
    start: Callable[..., subprocess.Popen[str]],
    own_server: Any,
    storage: StudyStorage,
    url: str,
    tmp_path: Path,
) -> None:
    """`sweeps run` starts a worker again that was killed, and its end would end the run."""
    run = begin(start, tmp_path, url, 12)
    wait_for(lambda: len(ended(storage)) >= 2, run)
    before, first = ended(storage), set(children(run.pid))
    stop_server(own_server, "fast")
    os.kill(min(first), signal.SIGKILL)
    wait_for(lambda: bool(set(children(run.pid)) - first), run)
    (again,) = set(children(run.pid)) - first
    assert not happens(lambda: again not in children(run.pid), 8.0)  # an import takes 3 s
    assert run.poll() is None, rest(run)
    start_server(own_server)
    out = rest(run)
    assert run.returncode == 0, out
    assert "was killed by SIGKILL; it is started again" in out
    with storage.engine.connect() as connection:
        workers = schema.workers
        pids = connection.scalars(select(workers.c.pid).where(workers.c.lanes > 0)).all()
    assert {again, *first} == set(pids)
    check(storage, 12, before, test="started without it")


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
    out = said(run, "is out of reach (")
    os.kill(run.pid, signal.SIGINT)
    began = time.monotonic()
    out += rest(run)
    assert time.monotonic() - began < DRAIN_SECONDS + 10
    assert run.returncode == 1, out
    assert "Error: study DB postgresql+psycopg://postgres:***@" in out
    assert "run the same command again when the database answers" in out
    assert "Traceback" not in out
    assert workers > 1 or out.count("is out of reach (") == 1, out
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


def wait_for(condition: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    assert happens(lambda: condition() or run.poll() is not None, 180.0), "not within 180 s"
    assert run.poll() is None, rest(run)


def said(run: subprocess.Popen[str], text: str) -> str:
    """What it says, up to the line with `text`."""
    assert run.stdout is not None
    out = ""
    while text not in out:
        line = run.stdout.readline()
        assert line, out
        out += line
    return out


def rest(run: subprocess.Popen[str]) -> str:
    """What it says until it ends."""
    assert run.stdout is not None
    with run.stdout:
        out = run.stdout.read()
    run.wait(timeout=60)
    return out
