"""The commands of docker-compose.yml as processes, on a real PostgreSQL; with Docker itself:
`tests/containers/run`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from sqlalchemy import make_url

from studies import open_storage
from tests.compose_file import command, services
from tests.conftest import run_sql
from tests.e2e.conftest import environment
from tests.e2e.faults.scene import ended, trials_of
from tests.e2e.runs import SWEEP
from tests.waiting import wait_for

SERVICES = services()
BIN = Path(sys.executable).parent
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def databases(postgres_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Two empty databases; `database_services` in the test's folder says where, as the secret does.

    Returns:
        Their URLs by the names of its sections.
    """
    server = make_url(postgres_url)
    urls, lines = {}, []
    for name in ("sweeps", "mlflow"):
        database = f"{name}_{uuid.uuid4().hex}"
        run_sql(postgres_url, f"CREATE DATABASE {database}")
        url = server.set(database=database)
        urls[name] = url.render_as_string(hide_password=False)
        where = url.translate_connect_args(username="user", database="dbname")
        where |= {key: str(value) for key, value in url.query.items()}
        lines += [f"[{name}]", *(f"{key}={value}" for key, value in where.items()), ""]
    (tmp_path / "database_services").write_text("\n".join(lines))
    yield urls
    for url in urls.values():
        run_sql(postgres_url, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a service's command; its folders are the test's own, its port a free one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = {
        r"(^|=)/(run/secrets|sweeps)(?=/)": rf"\1{tmp_path}",
        r"(^|=)/(checkpoints|artifacts)$": rf"\1{tmp_path}/\2",
        "^--study=.*": "--study=small",
        "^http://mlflow:5000$": f"http://127.0.0.1:{port}",
        "^--host=.*": "--host=127.0.0.1",
        "^--port=.*": f"--port={port}",
        r"127\.0\.0\.1:\d+": f"127.0.0.1:{port}",
    }

    def in_place(word: str) -> str:
        for there, instead in here.items():
            word = re.sub(there, instead, word)
        return word

    with ExitStack() as stack:

        def begin(name: str, *arguments: str, check: bool = False) -> subprocess.Popen[str]:
            service = SERVICES[name]
            words = service["healthcheck"]["test"][1:] if check else command(service)
            variables = {k: in_place(v) for k, v in service["environment"].items()}
            program, *rest = (in_place(word) for word in (*words, *arguments))
            process = subprocess.Popen(
                [BIN / program, *rest],
                cwd=tmp_path,
                env={**environment(), **variables, "PATH": f"{BIN}:{os.environ['PATH']}"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            stack.callback(_end, process)
            return process

        yield begin


def _end(process: subprocess.Popen[str]) -> None:
    """End a process with what it has started, however it stands."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_the_services_run_a_sweep(start: Start, databases: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    workers = [start("worker") for _ in range(2)]  # before there is a table
    mlflow_tables = start("migrate-mlflow")
    for said in ("Upgraded.", "It was up to date."):
        assert said in ends(start("migrate"))
    ends(mlflow_tables)
    mlflow = start("mlflow")
    wait_for(lambda: mlflow.poll() is None and start("mlflow", check=True).wait() == 0, 90)
    assert [worker.poll() for worker in workers] == [None, None]  # they wait for the study
    assert "Ended: all 12 trials have run." in ends(start("sweeps", "run", "/sweeps/sweep.yaml"))
    for worker in workers:
        assert "Waiting for study 'small'\nJoined study 'small'" in ends(worker)
    with open_storage(databases["sweeps"]) as storage:
        trials = trials_of(storage)
        assert [trial.number for trial in trials] == list(range(12))
        assert len(ended(storage)) == 12
        points = sum(len(trial.intermediate_values) for trial in trials)
        complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    client = MlflowClient(address(mlflow))
    experiment = client.get_experiment_by_name("small")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "trial" in run.data.tags]
    assert (len(runs), len(children)) == (13, 12)
    assert sum(run.info.status == "FINISHED" for run in children) == complete
    stored = [client.get_metric_history(run.info.run_id, "valid/accuracy") for run in children]
    assert sum(map(len, stored)) == points
    assert list((tmp_path / "artifacts").rglob("sweep.yaml"))


@pytest.mark.usefixtures("databases")
def test_the_dashboard_shows_the_study_db(start: Start) -> None:
    ends(start("migrate"))
    dashboard = start("dashboard")
    wait_for(lambda: dashboard.poll() is None and start("dashboard", check=True).wait() == 0, 90)


def ends(process: subprocess.Popen[str]) -> str:
    """Wait for a command that succeeds; return what it said."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def address(mlflow: subprocess.Popen[str]) -> str:
    words = [str(word) for word in mlflow.args]
    port = next(word.partition("=")[2] for word in words if word.startswith("--port="))
    return f"http://127.0.0.1:{port}"
