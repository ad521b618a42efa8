"""Who writes in `benchmarks.storage`: the study DB, Optuna's storages, and the bare driver.

Each opens its storage, and then writes rounds of trials: `ask(n)` begins n with 6 parameters,
`report(trials, steps)` gives each trial a value at each step, step after step, `tell(trials)`
completes them.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol, TypeVar

import grpc
import optuna
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from studies import (
    Drawn,
    Finish,
    Holding,
    Report,
    SweepRecord,
    create_sweep,
    get_sweep,
    open_storage,
    register,
)

SPACE = {f"p{place}": FloatDistribution(0.0, 1.0) for place in range(6)}
EXTRA = {"valid/accuracy": 0.5, "train/loss": 0.25, "train/accuracy": 0.75}
RECORD = SweepRecord("", None, {}, {}, 0, {})
# What Optuna's storages and the proxy's client make of "database is locked".
REFUSED = (StorageInternalError, grpc.RpcError)
T = TypeVar("T")


class Writer(Protocol):
    """One process's way to write trials."""

    errors: int  # failed operations that were tried again

    def ask(self, n: int) -> Any: ...
    def report(self, trials: Any, steps: range) -> None: ...
    def tell(self, trials: Any) -> None: ...


class Sweeplane:
    """The batch calls that a feed uses, under leases and fences."""

    errors = 0

    def __init__(self, url: str, study: str) -> None:
        storage = open_storage(url)
        sweep = get_sweep(storage, study)
        assert sweep is not None
        self._holding = Holding(storage, register(storage, sweep.study_id))
        self._storage = storage

    def ask(self, n: int) -> list[int]:
        ids = [lease.trial_id for lease in self._holding.claim(n).leases]
        drawn = [Drawn(id_, {p: (random.random(), d) for p, d in SPACE.items()}) for id_ in ids]
        self._accept(self._storage.draw(drawn, self._holding.fence))
        return ids

    def report(self, trials: Sequence[int], steps: range) -> None:
        for step in steps:
            points = [Report(trial, step, 1 / step, EXTRA) for trial in trials]
            self._accept(self._storage.report(points, self._holding.fence))

    def tell(self, trials: Sequence[int]) -> None:
        ended = [Finish(trial, TrialState.COMPLETE, [0.1]) for trial in trials]
        self._accept(self._storage.finish(ended, self._holding.fence))
        for trial in trials:
            self._holding.drop(trial)

    def _accept(self, refused: set[int]) -> None:
        if refused:
            raise RuntimeError(f"trials {sorted(refused)} were refused")


class Optuna:
    """`study.ask`, `trial.report` and `study.tell`, with a sampler that reads nothing."""

    def __init__(self, storage: Any, study: str) -> None:
        self._study = optuna.load_study(
            study_name=study, storage=storage, sampler=optuna.samplers.RandomSampler()
        )
        self.errors = 0

    def ask(self, n: int) -> list[optuna.Trial]:
        return [self._try(self._study.ask, SPACE) for _ in range(n)]

    def report(self, trials: Sequence[optuna.Trial], steps: range) -> None:
        for step in steps:
            for trial in trials:
                self._try(trial.report, 1 / step, step)

    def tell(self, trials: Sequence[optuna.Trial]) -> None:
        for trial in trials:
            self._try(self._study.tell, trial, 0.1)

    def _try(self, operation: Callable[..., T], *arguments: Any) -> T:
        while True:
            try:
                return operation(*arguments)
            except REFUSED:
                self.errors += 1


class Driver:
    """The rows that `Sweeplane` writes, inserted by sqlite3 or psycopg, so many a transaction.

    Nothing is locked, looked up or overwritten; each process has a study of its own.
    """

    errors = 0

    def __init__(self, url: str, study: str, reports: int) -> None:
        self._storage = open_storage(url)
        own = f"{study} of process {os.getpid()}"
        self._study_id = create_sweep(self._storage, own, ["minimize"], RECORD)
        self._number = count()
        self._connection = self._storage.engine.raw_connection().driver_connection
        self._cursor = self._connection.cursor()
        self._sqlite = url.startswith("sqlite")
        self._reports = reports

    def ask(self, n: int) -> list[int]:
        row = ("study_id", "number", "state", "datetime_start")
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
        ids = []
        with self._transaction():
            for number in (next(self._number) for _ in range(n)):
                sql = self._insert("trials", *row) + " RETURNING trial_id"
                self._cursor.execute(sql, (self._study_id, number, "RUNNING", now))
                ids.append(self._cursor.fetchone()[0])
            names = ("trial_id", "param_name", "param_value", "distribution_json")
            self._cursor.executemany(
                self._insert("trial_params", *names),
                [
                    (id_, name, random.random(), distribution_to_json(space))
                    for id_ in ids
                    for name, space in SPACE.items()
                ],
            )
        return ids

    def report(self, trials: Sequence[int], steps: range) -> None:
        value = ("trial_id", "step", "intermediate_value", "intermediate_value_type")
        values = self._insert("trial_intermediate_values", *value)
        points = self._insert("points", "trial_id", "name", "step", "value")
        pairs = [(trial, step) for step in steps for trial in trials]
        for first in range(0, len(pairs), self._reports):
            some = pairs[first : first + self._reports]
            with self._transaction():
                rows = [(trial, step, 1 / step, "FINITE") for trial, step in some]
                self._cursor.executemany(values, rows)
                more = [(t, name, step, x) for t, step in some for name, x in EXTRA.items()]
                self._cursor.executemany(points, more)

    def tell(self, trials: Sequence[int]) -> None:
        names = ("trial_id", "objective", "value", "value_type")
        mark = "?" if self._sqlite else "%s"
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
        state = f"UPDATE trials SET state = 'COMPLETE', datetime_complete = {mark}"
        with self._transaction():
            rows = [(trial, 0, 0.1, "FINITE") for trial in trials]
            self._cursor.executemany(self._insert("trial_values", *names), rows)
            ended = [(now, trial) for trial in trials]
            self._cursor.executemany(f"{state} WHERE trial_id = {mark}", ended)

    def _insert(self, table: str, *names: str) -> str:
        marks = ", ".join(["?" if self._sqlite else "%s"] * len(names))
        return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"

    @contextmanager
    def _transaction(self) -> Any:
        if self._sqlite:
            self._cursor.execute("BEGIN IMMEDIATE")
        yield
        self._connection.commit()


def write(writer: Writer, lanes: int, reports: int, seconds: float) -> dict[str, Any]:
    """Writes rounds of `lanes` trials, at least one, for about so long; what it did and took."""
    phases = {"ask": 0.0, "report": 0.0, "tell": 0.0}
    start, rounds = time.perf_counter(), 0
    while not rounds or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        trials = writer.ask(lanes)
        asked = time.perf_counter()
        writer.report(trials, range(1, reports + 1))
        reported = time.perf_counter()
        writer.tell(trials)
        for phase, took in (
            ("ask", asked - began),
            ("report", reported - asked),
            ("tell", time.perf_counter() - reported),
        ):
            phases[phase] += took
        rounds += 1
    return {"trials": rounds * lanes, "seconds": phases, "errors": writer.errors}
