"""Writes to the study DB, and reads of a large study, against Optuna's storages in the same run.

Writing: each process has 32 trials at once and takes them through (ask, 20 reports, tell), in 1 and
in 4 processes, on SQLite and PostgreSQL. Reports are 32 a call here, with the objective and three
more points each; Optuna's have the objective alone. A round has a fresh database, the contenders
take turns, and what was written is read back by plain Optuna. `reports/s` counts the time of the
reports alone, `trials/s` the whole. The drivers insert the rows that Sweeplane writes, 64 reports
(256 rows) or 64 rows a transaction, and look up, lock and overwrite nothing.

Reading: see `benchmarks.storage_reading`.

    python -m benchmarks.storage [--parts writing reading] [--repeats 3] [--seconds 1]
        [--markdown] [--output benchmarks/results/storage.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna

from benchmarks import storage_reading
from benchmarks.storage_databases import Databases, grpc_proxy, journal, optuna_storage, read_back
from benchmarks.storage_writers import RECORD, Driver, Optuna, Sweeplane, Writer, write
from studies import create_sweep, open_storage

OURS, RDB, WAL = "Sweeplane", "RDBStorage", "RDBStorage in WAL"
JOURNAL, GRPC = "JournalStorage", "gRPC proxy of RDBStorage"
REPORTS_AT_ONCE = {"driver, 64 reports a transaction": 64, "driver, 64 rows a transaction": 16}
BATCHED = (OURS, *REPORTS_AT_ONCE)
CONTENDERS = {
    "sqlite": (OURS, RDB, WAL, JOURNAL, GRPC, *REPORTS_AT_ONCE),
    "postgresql": (OURS, RDB, GRPC, *REPORTS_AT_ONCE),
}
PARTS = ("writing", "reading")
STUDY = "storage"
WARM_UP = (2, 2, 0.0)  # lanes, reports, seconds


@dataclass(frozen=True)
class Job:
    """What a process is told to write: as whom, where, and how much."""

    contender: str
    place: Any  # a URL, a journal's file, a proxy's port
    lanes: int
    reports: int
    seconds: float

    def open(self) -> Writer:
        if self.contender == OURS:
            return Sweeplane(self.place, STUDY)
        if self.contender in REPORTS_AT_ONCE:
            return Driver(self.place, STUDY, REPORTS_AT_ONCE[self.contender])
        return Optuna(optuna_storage(self.place), STUDY)


def serve(pipe: Connection) -> None:
    """A process: opens each job that it is sent, warms up, and writes when told to."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    while (job := pipe.recv()) is not None:
        writer = job.open()
        write(writer, *WARM_UP)
        pipe.send("ready")
        pipe.recv()
        pipe.send(write(writer, job.lanes, job.reports, job.seconds))


@contextmanager
def processes(n: int) -> Iterator[list[Connection]]:
    """The ends of pipes to `n` processes that serve."""
    spawn = multiprocessing.get_context("spawn")
    pipes, started = [], []
    for _ in range(n):
        here, there = spawn.Pipe()
        process = spawn.Process(target=serve, args=(there,), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        started.append(process)
    try:
        yield pipes
        for pipe in pipes:
            pipe.send(None)
    finally:
        for process in started:
            process.join(timeout=10)


def together(pipes: Sequence[Connection], job: Job) -> list[dict[str, Any]]:
    """What each process did, all at the same time."""
    for signal in (job, "go"):
        for pipe in pipes:
            pipe.send(signal)
        found = [pipe.recv() for pipe in pipes]
    return found


def measure(
    pipes: Sequence[Connection], databases: Databases, database: str, contender: str, size: Any
) -> dict[str, Any]:
    """The rates of one contender in one round, checked against what its database holds."""
    with ExitStack() as stack:
        url = stack.enter_context(databases.fresh(database))
        place: Any = url
        if contender in BATCHED:
            with open_storage(url) as storage:
                create_sweep(storage, STUDY, ["minimize"], RECORD)
        else:
            if contender == JOURNAL:
                place = journal(url)
            optuna.create_study(
                study_name=STUDY, storage=optuna_storage(place, wal=contender == WAL)
            )
            if contender == GRPC:
                place = stack.enter_context(grpc_proxy(url))
        done = together(pipes, Job(contender, place, *size))
        written = read_back(journal(url) if contender == JOURNAL else url)
    lanes, reports, _ = WARM_UP
    trials = sum(each["trials"] for each in done)
    expected = trials + lanes * len(pipes), trials * size[1] + lanes * reports * len(pipes)
    if written != (*expected, expected[1] * 3 * (contender in BATCHED)):
        raise RuntimeError(f"{contender} on {database}: {written} instead of {expected}")
    return {
        "reports/s": sum(e["trials"] * size[1] / e["seconds"]["report"] for e in done),
        "trials/s": sum(each["trials"] / sum(each["seconds"].values()) for each in done),
        "errors": sum(each["errors"] for each in done),
        "read back": dict(zip(("trials", "reports", "points"), written, strict=True)),
    }


def writing(arguments: argparse.Namespace, databases: Databases) -> list[dict[str, Any]]:
    """Every contender's rates: of each round, which go through all, and their medians."""
    cases = [
        (database, contender, n)
        for database in arguments.databases
        for n in arguments.processes
        for contender in CONTENDERS[database]
    ]
    rounds: dict[Any, list[dict[str, Any]]] = {case: [] for case in cases}
    with processes(max(arguments.processes)) as pipes:
        for turn in range(arguments.repeats):
            for case in cases:
                database, contender, n = case
                lanes = arguments.lanes
                if contender not in BATCHED:
                    lanes = max(1, lanes // 4)  # a call is a trial's: fewer have the same rates
                size = (lanes, arguments.reports, arguments.seconds)
                rounds[case].append(measure(pipes[:n], databases, database, contender, size))
            print(f"round {turn + 1} of {arguments.repeats} is done", flush=True)
    rows = []
    for (database, contender, n), found in rounds.items():
        row = {"database": database, "contender": contender, "processes": n, "rounds": found}
        rates = ("reports/s", "trials/s")
        rows.append(row | {rate: statistics.median(e[rate] for e in found) for rate in rates})
    return rows


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times Sweeplane's rates are another's: the median over rounds."""
    found = []
    for own in (row for row in rows if row["contender"] == OURS):
        place = (own["database"], own["processes"])
        for row in rows:
            if row is own or (row["database"], row["processes"]) != place:
                continue
            pairs = list(zip(own["rounds"], row["rounds"], strict=True))
            times = {
                rate: statistics.median(a[rate] / b[rate] for a, b in pairs)
                for rate in ("reports/s", "trials/s")
            }
            found.append({"database": place[0], "processes": place[1], "to": row["contender"]})
            found[-1] |= times
    return found


def markdown(result: dict[str, Any]) -> str:
    """The README's tables."""
    lines = []
    if "writing" in result:
        lines += [
            "| database | processes | contender | reports/s | Sweeplane's are | trials/s | are |",
            "|---|--:|---|--:|--:|--:|--:|",
        ]
        times = {(r["database"], r["processes"], r["to"]): r for r in result["writing"]["ratios"]}
        for row in result["writing"]["rows"]:
            case = (row["database"], row["processes"], row["contender"])
            ratio = times.get(case)
            cells = [str(each) for each in case]
            for rate in ("reports/s", "trials/s"):
                cells += [f"{row[rate]:,.0f}", f"{ratio[rate]:.2g}x" if ratio else ""]
            lines.append(f"| {' | '.join(cells)} |")
    if "reading" in result:
        lines += ["", *storage_reading.markdown(result["reading"]["rows"])]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    packages = ("optuna", "sqlalchemy", "psycopg", "grpcio")
    facts = {"processor": platform.machine(), "cores": os.cpu_count()}
    return facts | {"python": platform.python_version()} | {p: version(p) for p in packages}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--databases", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--lanes", type=int, default=32, help="trials at once")
    parser.add_argument("--reports", type=int, default=20, help="of each trial")
    parser.add_argument("--seconds", type=float, default=1.0, help="at least one round of trials")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=10_000, help="of the study to be read")
    parser.add_argument("--epochs", type=int, default=50, help="of each of these")
    parser.add_argument("--markdown", action="store_true", help="print the README's tables too")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def run(arguments: argparse.Namespace, databases: Databases) -> dict[str, Any]:
    """The parts that were asked for, each with the machine's load before and after."""
    found: dict[str, Any] = {}
    if "writing" in arguments.parts:
        load = os.getloadavg()
        rows = writing(arguments, databases)
        names = ("lanes", "reports", "repeats", "seconds")
        sizes = {name: getattr(arguments, name) for name in names}
        found["writing"] = {**sizes, "rows": rows, "ratios": ratios(rows)}
        found["writing"]["load"] = [load, os.getloadavg()]
    if "reading" in arguments.parts:
        load = os.getloadavg()
        large = (arguments.trials, arguments.epochs, arguments.repeats)
        rows = [storage_reading.measure(databases, d, *large) for d in arguments.databases]
        found["reading"] = {"rows": rows, "load": [load, os.getloadavg()]}
    return {**found, "machine": machine() | databases.versions()}


def main() -> None:
    arguments = parse()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, Databases(Path(folder)) as databases:
        result = run(arguments, databases)
    if arguments.markdown:
        print(markdown(result))
    if arguments.output:
        before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
        arguments.output.write_text(json.dumps(before | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
