"""A study under fault: its folder, its study DB, its processes, and what its rows say."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from studies import StudyStorage, live_workers, open_storage, queries, schema
from studies.roster import Worker
from sweeps.launch import open_sweep
from sweeps.plan import plan
from sweeps.spec import load_spec
from tests.e2e.conftest import SWEEPS, environment
from tests.e2e.faults.figures import Figures
from tests.e2e.runs import SWEEP, write
from tests.waiting import wait_for

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
SLOW = SWEEP.replace("task: iris-mlp", "task: slow.py:make")
SLOW += "batch_size: 4\nearly_terminate: none\n"  # 0.6 s a trial, most of it asleep
QUICK = SWEEP.replace("epochs: 6", "epochs: 3")
WITHOUT_END = 100_000  # trials


class Scene:
    """One folder and one study DB, with the study "small": `with Scene(folder, url) as scene:`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.database = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
        self._started: list[subprocess.Popen[str]] = []
        self._storage: StudyStorage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what is left, however it stands."""
        for process in self._started:
            if process.poll() is None:
                for pid in (*children(process.pid), process.pid):
                    os.kill(pid, signal.SIGKILL)
                process.communicate()
            elif process.stdout is not None:
                process.stdout.close()
        self.close()

    def close(self) -> None:
        """Close the study DB; it is opened again when next looked at."""
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    @property
    def storage(self) -> StudyStorage:
        """The study DB, opened when first looked at."""
        if self._storage is None:
            self._storage = open_storage(self.url)
        return self._storage

    def write(self, text: str, budget: int) -> None:
        """Write the sweep file, with so many trials."""
        write(self.folder, text.replace("run_cap: 12", f"run_cap: {budget}"))

    def planned(self, text: str, budget: int) -> int:
        """Make the study as `sweeps run` plans it, with nobody working; return its id."""
        self.write(text, budget)
        with (
            sweep := open_sweep(load_spec(self.folder / "sweep.yaml"), self.url, "small")
        ).storage:
            plan(sweep)
            return sweep.study_id

    def start(self, *arguments: str, wrap: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start `sweeps ARGUMENTS... --storage URL`, in a process group of its own."""
        process = subprocess.Popen(
            [*wrap, SWEEPS, *arguments, "--storage", self.url],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, seconds: float = 240.0) -> tuple[int, str]:
        """Run it to its end; return its exit code and all that it said."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=seconds)
        return process.returncode, said

    def sweep(self, workers: int, lease_seconds: float) -> subprocess.Popen[str]:
        """Start `sweeps run --workers N` on the sweep file."""
        lease = f"{lease_seconds:g}"
        command = ("run", "sweep.yaml", "--tracking", "none", "--workers", str(workers))
        return self.start(*command, "--lease-seconds", lease)

    def worker(self, lease_seconds: float, wrap: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start `sweeps worker`."""
        lease = f"{lease_seconds:g}"
        return self.start("worker", "--study", "small", "--lease-seconds", lease, wrap=wrap)

    def trials(self) -> list[FrozenTrial]:
        return trials_of(self.storage)

    def ended(self) -> dict[int, FrozenTrial]:
        return ended(self.storage)

    def running(self) -> list[int]:
        return running(self.storage)

    def trainers(self) -> list[Worker]:
        return trainers(self.storage)

    def trainer(self, process: subprocess.Popen[str]) -> Worker:
        """The worker that a process becomes."""
        found: list[Worker] = []

        def registered() -> bool:
            found.extend(w for w in self.trainers() if w.process.pid == process.pid)
            return bool(found) or process.poll() is not None

        wait_for(registered)
        assert found, process.communicate()[0]
        return found[0]

    def newest(self) -> int:
        """The id of the worker that registered last, alive or not."""
        with self.storage.engine.connect() as connection:
            return connection.scalar(select(func.max(schema.workers.c.worker_id))) or 0

    def holds(self, worker: Worker) -> list[int]:
        """The numbers of the RUNNING trials that a worker holds."""
        ids = select(schema.leases.c.trial_id).where(
            schema.leases.c.worker_id == worker.worker_id, schema.leases.c.expires_at.is_not(None)
        )
        with self.storage.engine.connect() as connection:
            found = set(connection.scalars(ids))
        trials = [trial for trial in self.trials() if trial._trial_id in found]
        return [trial.number for trial in trials if not trial.state.is_finished()]

    def lease_column(self, name: str) -> dict[int, int]:
        with self.storage.engine.connect() as connection:
            rows = connection.execute(select(schema.leases)).mappings().all()
        numbers = {trial._trial_id: trial.number for trial in self.trials()}
        return {numbers[row["trial_id"]]: row[name] for row in rows}

    def heartbeat(self, worker: Worker) -> object:
        """When a worker last said that it lives."""
        column = schema.workers.c.heartbeat
        query = select(column).where(schema.workers.c.worker_id == worker.worker_id)
        with self.storage.engine.connect() as connection:
            return connection.scalar(query)

    def curves(self, number: int) -> dict[str, list[tuple[int, float]]]:
        return queries.curves(self.storage, "small", {number})[number]

    def drain(self, *processes: subprocess.Popen[str]) -> list[int]:
        """Ctrl-C to each; return their exit codes."""
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.communicate(timeout=200)
        return [process.returncode for process in processes]

    @contextmanager
    def figures(self, fault: str, repeats: int) -> Iterator[Figures]:
        """The figures of a fault; those that the study's rows tell are filled in at the end."""
        figures, start = Figures(fault, self.database, repeats), time.monotonic()
        yield figures
        trials = self.trials()
        figures.seconds = time.monotonic() - start
        figures.trials += len(trials)
        failed = [trial for trial in trials if trial.state == TrialState.FAIL]
        figures.failed += len(failed)
        figures.seen.update(f"failed: {trial.user_attrs.get('reason')}" for trial in failed)
        figures.left_running += len(self.running())
        figures.check("numbers", holds=[t.number for t in trials] == list(range(len(trials))))
        figures.most_attempts = max(self.lease_column("attempt").values(), default=None)
        if figures.wanted is not None:
            figures.got = len(self.ended())


def children(pid: int) -> list[int]:
    """The processes that a process has started: each worker of a crew has a group of its own."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lost(before: dict[int, FrozenTrial], after: dict[int, FrozenTrial]) -> int:
    """How many finished trials have changed, or are gone."""
    return sum(after.get(number) != trial for number, trial in before.items())


def trials_of(storage: StudyStorage) -> list[FrozenTrial]:
    """The trials of the study "small"; none while it is not there yet."""
    try:
        study_id = storage.get_study_id_from_name("small")
    except KeyError:
        return []
    return storage.get_all_trials(study_id, deepcopy=False)


def ended(storage: StudyStorage) -> dict[int, FrozenTrial]:
    """Its trials that have ended well, by number."""
    return {trial.number: trial for trial in trials_of(storage) if trial.state in ENDED}


def running(storage: StudyStorage) -> list[int]:
    """The numbers of its RUNNING trials."""
    return [trial.number for trial in trials_of(storage) if trial.state == TrialState.RUNNING]


def trainers(storage: StudyStorage) -> list[Worker]:
    """Its workers that live and train."""
    if not trials_of(storage):
        return []
    study_id = storage.get_study_id_from_name("small")
    return [worker for worker in live_workers(storage, study_id) if worker.lanes]
