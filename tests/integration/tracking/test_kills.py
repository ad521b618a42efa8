"""A pass killed between any two of its steps, and the passes after it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_reads import assert_agree, rows

from sweeps.tracking import sync

TRIALS, EPOCHS = 40, 3

DYING = """
import os, signal, sys
from mlflow import MlflowClient
from studies import open_storage
from sweeps.tracking import sync
from sweeps.tracking.ledger import Ledger
from sweeps.tracking.sqlite_writer import SqliteWriter
from sweeps.tracking.writers import ClientWriter

database, uri, writer, owner, name, calls, when = sys.argv[1:]
left, function = int(calls), getattr(globals()[owner], name)

def dying(*args, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*args, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(globals()[owner], name, dying)
SqliteWriter.batch = ClientWriter.batch = 7
if writer == "client":
    SqliteWriter.fits = lambda self: False
with open_storage(database) as storage:
    sync(storage, "digits", uri)
"""

# The moment at which each of three processes dies, and MLflow's runs after it, the parent one.
FILE = [
    (("SqliteWriter", "_insert_runs", "2", "after"), 1 + 7),  # in the second transaction
    (("Ledger", "settle", "2", "before"), 1 + 7 + 14),  # it is committed and not noted
    (("Ledger", "settle", "2", "after"), 1 + 7 + 14 + 7),
]
CLIENT = [
    (("MlflowClient", "create_run", "10", "after"), 1 + 9),  # the run is empty
    (("MlflowClient", "log_batch", "3", "after"), 1 + 9 + 1),  # and not ended
    (("MlflowClient", "set_terminated", "9", "after"), 1 + 9 + 1 + 6),  # and not noted
]


@pytest.mark.parametrize(("writer", "deaths"), [("file", FILE), ("client", CLIENT)])
def test_killed_and_run_again(
    study: Any, uri: str, mlflow_db: Path, writer: str, deaths: list[tuple[tuple[str, ...], int]]
) -> None:
    for index in range(TRIALS):
        study.train([0.5, 0.25, index / 1000])
    for moment, runs in deaths:
        command = [sys.executable, "-W", "ignore", "-c", DYING, str(study.storage.url), uri]
        killed = subprocess.run([*command, writer, *moment], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert rows(mlflow_db, "SELECT count(*) FROM runs") == runs
    sync(study.storage, "digits", uri)
    assert rows(mlflow_db, "SELECT count(*) FROM runs") == 1 + TRIALS
    # Three curves, a test metric, value, seconds, epochs; the parent's best and count.
    assert rows(mlflow_db) == TRIALS * (3 * EPOCHS + 1 + 3) + 2 * TRIALS
    assert_agree(study, MlflowClient(uri))
    assert sync(study.storage, "digits", uri).metrics == 0
