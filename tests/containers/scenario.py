"""`tests/containers/run`: a sweep on the services of docker-compose.yml, with faults.

    build the image; up -d --scale worker=3, before there is a study; `run --rm sweeps run FILE`
    docker kill of a worker that holds trials; restart of db; docker stop of another worker; both
    started again; the end of the sweep
    MLflow's pages in Chromium by the published port; MLflow against the study DB, point by point

Figures that must be 0 are counted, not stopped at; the exit code is 1 when one is not.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from studies import StudyStorage, live_workers, open_storage, schema, tables
from sweeps.cli.worker import DRAINED_EXIT_CODE
from tests.containers import agreement, hardening, pages
from tests.containers.stack import IMAGE, ROOT, Stack, compose, output
from tests.e2e.faults.scene import ENDED, ended, trials_of
from tests.waiting import wait_for

WORKERS = 3
STOP_SECONDS = 10  # what docker-compose gives by default, here to the database too
STUDY = "small"  # the name that tests/e2e/faults/scene.py reads
SWEEP = """
name: small
task: digits-mlp
optimizer: [adamw, sgd]
schedule: [cosine, step]
metric: {name: valid/accuracy, goal: maximize, take: best}
epochs: 40
batch_size: 32
early_terminate: {type: asha, min_epochs: 4, eta: 3}
seed: 0
"""

Figures = dict[str, Any]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=240)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/containers.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sweeplane-containers-") as name:
        folder = Path(name)
        (folder / "sweeps").mkdir()
        (folder / "sweeps" / "sweep.yaml").write_text(f"{SWEEP}run_cap: {asked.trials}\n")
        folder.chmod(0o755)
        with Stack(folder, STUDY) as stack:
            figures = scenario(stack, asked.trials)
    figures["sound"] = not any(figures["must_be_0"].values())
    asked.output.write_text(json.dumps(figures, indent=2) + "\n")
    say(json.dumps(figures, indent=2))
    return 0 if figures["sound"] else 1


def scenario(stack: Stack, budget: int) -> Figures:
    seconds: dict[str, float] = {}
    output("docker", "build", "--network", "host", "--tag", IMAGE, ".", seconds=3600)
    with_gpus = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml")
    compose(*with_gpus, "config", "--quiet")
    with timed(seconds, "up"):
        compose("up", "-d", "--scale", f"worker={WORKERS}")
    seconds["mlflow_healthy"] = stack.healthy("mlflow")
    wait_for(lambda: compose("logs", "worker").count("Waiting for study") == WORKERS)
    begun = time.monotonic()
    with sweep() as run:
        faults = disturb(stack, run, seconds)
        said = run.communicate(timeout=900)[0]
    seconds["sweep"] = time.monotonic() - begun
    codes = [exit_code(container) for container in stack.containers("worker")]
    status = compose("run", "--rm", "-T", "sweeps", "status", STUDY)
    check = compose("run", "--rm", "-T", "sweeps", "storage", "check")
    compose("--profile", "dashboard", "up", "-d", "dashboard")
    seconds["dashboard_healthy"] = stack.healthy("dashboard")
    address = f"http://127.0.0.1:{stack.port}"
    with open_storage(stack.storage_url()) as storage:
        found = counted(storage, budget, faults.pop("finished"))
        agreed = agreement.compare(storage, STUDY, address)
    shown = pages.browse(address, STUDY, budget)
    dashboard = pages.studies_of(f"http://127.0.0.1:{stack.dashboard_port}")
    later = hardening.shown(stack, said + status + check)
    must_be_0 = {
        "one_shot_exit_code": run.returncode,
        "workers_with_another_exit_code": sum(code != 0 for code in codes),
        "stopped_with_another_exit_code": int(faults["stopped_exit_code"] != DRAINED_EXIT_CODE),
        "study_db_unsound": int("The study DB is sound." not in check),
        "dashboard_without_the_study": int(dashboard != [STUDY]),
        **found.pop("must_be_0"),
        **agreed.pop("must_be_0"),
        **shown.pop("must_be_0"),
        **{f"{name}_at_the_end": count for name, count in later.items()},
        **faults.pop("must_be_0"),
    }
    return {
        "machine": f"{platform.machine()}, {hardening.cpus()} CPUs",
        "docker": output("docker", "version", "--format", "{{.Server.Version}}").strip(),
        "docker_compose": output("docker-compose", "version", "--short").strip(),
        "postgresql": hardening.postgresql(stack),
        "workers": WORKERS,
        "budget": budget,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "must_be_0": must_be_0,
        **faults,
        **found,
        **agreed,
        **shown,
    }


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[name] = time.monotonic() - begun


@contextmanager
def sweep() -> Iterator[subprocess.Popen[str]]:
    """The sweep as a user launches it, by the one-shot service."""
    command = ("docker-compose", "run", "--rm", "-T", "sweeps", "run", "/sweeps/sweep.yaml")
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def disturb(stack: Stack, run: subprocess.Popen[str], seconds: dict[str, float]) -> Figures:
    """Kill a worker that holds trials, then restart the database; say what was so before."""
    with open_storage(stack.storage_url()) as storage:
        going_on(run, lambda: bool(trials_of_or_none(storage)))
        going_on(run, lambda: len(ended(storage)) >= 20 and len(holding(storage)) >= WORKERS)
        host, held = max(holding(storage).items(), key=lambda item: len(item[1]))
        begun = time.monotonic()
        (victim,) = [c for c in stack.containers("worker") if c.startswith(host)]
        output("docker", "kill", victim)
        before = ended(storage)
        kept = checkpoints(stack, held)
        going_on(run, lambda: host not in holding(storage))
        seconds["until_taken_over"] = time.monotonic() - begun
        going_on(run, lambda: len(ended(storage)) >= len(before) + 10)
        before |= ended(storage)
        connections = connected(storage)
        with timed(seconds, "database_restart"):
            compose("restart", "--timeout", str(STOP_SECONDS), "db")
    stack.healthy("db")
    with open_storage(stack.storage_url()) as storage:
        going_on(run, lambda: holding(storage))
        (stopped, *_) = (c for c in stack.containers("worker") if c[:12] in holding(storage))
        with timed(seconds, "worker_stop"):
            output("docker", "stop", stopped)
        before |= ended(storage)
        code = exit_code(stopped)
        compose("up", "-d", "--no-deps", "--no-recreate", "--scale", f"worker={WORKERS}", "worker")
        going_on(run, lambda: len(holding(storage)) == WORKERS)
    confined = hardening.rights(stack)
    visible = hardening.shown(stack, "while it runs")
    confined["must_be_0"] |= {f"{name}_in_the_middle": count for name, count in visible.items()}
    return {
        **confined,
        "connections_before_the_restart": connections,
        "stopped_exit_code": code,
        "finished": before,
        "finished_before_the_faults": len(before),
        "trials_of_the_killed_worker": len(held),
        "of_them_with_a_checkpoint": kept,
    }


def going_on(run: subprocess.Popen[str], condition: Any) -> None:
    """Wait until something is so, while the sweep runs."""
    wait_for(lambda: run.poll() is not None or condition())
    if run.poll() is not None:
        raise SystemExit(f"the sweep has ended too soon:\n{run.communicate()[0]}")


def connected(storage: StudyStorage) -> dict[str, int]:
    """The server's connections by database."""
    query = text("SELECT datname, count(*) FROM pg_stat_activity WHERE datname <> '' GROUP BY 1")
    with storage.engine.connect() as connection:
        return {row.datname: row.count for row in connection.execute(query)}


def trials_of_or_none(storage: StudyStorage) -> list[Any]:
    return trials_of(storage) if storage.get_all_studies() else []


def holding(storage: StudyStorage) -> dict[str, list[int]]:
    """The numbers of the trials that each worker holds, by its container's name.

    The one-shot container is left out: `sweeps run` leads.
    """
    w, leases, trials = schema.workers, schema.leases, tables.trials
    query = (
        select(w.c.host, trials.c.number)
        .join(leases, leases.c.worker_id == w.c.worker_id)
        .join(trials, trials.c.trial_id == leases.c.trial_id)
        .where(leases.c.expires_at.is_not(None), ~w.c.leads)
    )
    found: dict[str, list[int]] = {}
    with storage.engine.connect() as connection:
        for host, number in connection.execute(query):
            found.setdefault(host, []).append(number)
    return found


def checkpoints(stack: Stack, numbers: list[int]) -> int:
    """How many of these trials have a checkpoint on the volume that all workers share."""
    worker = next(
        c["Id"] for c in stack.inspected(stack.containers("worker")) if c["State"]["Running"]
    )
    files = output("docker", "exec", worker, "find", "/checkpoints", "-name", "*.safetensors")
    found = {int(Path(line).name.partition("-")[0]) for line in files.split()}
    return len(found & set(numbers))


def exit_code(container: str) -> int:
    """A container's exit code, once it has ended."""
    return int(output("docker", "wait", container, seconds=120))


def counted(storage: StudyStorage, budget: int, before: dict[int, Any]) -> Figures:
    """The budget, what was lost, and gaps in curves, by the study DB."""
    trials = trials_of(storage)
    lost = [number for number, trial in before.items() if trials[number] != trial]
    steps = [sorted(trial.intermediate_values) for trial in trials]
    gaps = [number for number, each in enumerate(steps) if each != list(range(1, len(each) + 1))]
    with storage.engine.connect() as connection:
        attempts = connection.scalars(select(schema.leases.c.attempt)).all()
        joined = connection.scalar(select(func.count()).where(~schema.workers.c.leads))
    study_id = storage.get_study_id_from_name(STUDY)
    return {
        "trials": len(trials),
        "complete": sum(trial.state.name == "COMPLETE" for trial in trials),
        "pruned": sum(trial.state.name == "PRUNED" for trial in trials),
        "taken_over": sum(attempts) - len(attempts),
        "times_a_worker_joined": joined,
        "must_be_0": {
            "trials_beyond_or_below_the_budget": abs(len(trials) - budget),
            "numbers_missing": len(set(range(budget)) - {trial.number for trial in trials}),
            "trials_that_have_not_ended_well": sum(t.state not in ENDED for t in trials),
            "finished_trials_changed_or_lost": len(lost),
            "curves_with_gaps": len(gaps),
            "workers_left": len(live_workers(storage, study_id)),
        },
    }


if __name__ == "__main__":
    sys.exit(main())
