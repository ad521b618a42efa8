"""From a sweep file to a study that is ready to run: create it, or find it and check it.

Order matters for a clean refusal: the task is built and the metric looked up before anything is
written, and the plan (baseline, enqueued configurations) is written trial by trial so that a
creation which was killed half way is completed by the next `run`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from studies import (
    NoStudiesError,
    StudyStorage,
    SweepRecord,
    UserError,
    check_storage,
    create_sweep,
    get_sweep,
    open_storage,
    queries,
    set_status,
)
from sweeps.config import Config
from sweeps.device import resolve_device
from sweeps.engines.base import Tasks
from sweeps.spec import Spec, differences
from sweeps.tasks import load_factory
from sweeps.tasks.task import Task

TASKS_KEPT = 8
PACKAGES = ("sweeplane", "torch", "optuna", "sqlalchemy", "mlflow", "numpy", "scikit-learn")


@dataclass(frozen=True)
class OpenSweep:
    """A sweep with all that a worker needs; `tasks` builds the task of a trial's arguments."""

    spec: Spec
    tasks: Tasks
    storage: StudyStorage
    study: optuna.Study
    study_id: int
    epochs: int
    batch_size: int
    created: bool


def task_source(spec: Spec) -> Tasks:
    """Return a function from factory arguments to their task; the last ones built are kept.

    Raises:
        UserError: the factory cannot be imported; from the function: it raised something, or
            returned something else.
    """
    factory = load_factory(spec.task, spec.path.parent)

    @lru_cache(maxsize=TASKS_KEPT)
    def build(arguments: str) -> Task:
        try:
            task: object = factory(**json.loads(arguments))
        except UserError:
            raise
        except Exception as error:  # the user's own code may raise anything
            raise UserError(
                f"task '{spec.task}': its factory raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(task, Task):
            kind = type(task).__name__
            raise UserError(f"task '{spec.task}': its factory returned a {kind}, not a sweeps.Task")
        return task

    return lambda arguments: build(json.dumps(arguments, sort_keys=True))


def _first_task(spec: Spec, tasks: Tasks) -> Task:
    """Build the task with the first value of each searched argument, and look up the metric."""
    knobs = [knob for knob in spec.space.knobs if knob.owner.kind == "task"]
    task = tasks({knob.name: knob.distribution.first() for knob in knobs})
    names = [f"{split}/{name}" for split in ("train", "valid") for name in ("loss", *task.metrics)]
    if spec.metric.name not in names:
        near = get_close_matches(spec.metric.name, names, n=1)
        raise UserError(
            f"{spec.path}: metric '{spec.metric.name}' is not measured by task '{spec.task}'"
            + (f"; did you mean '{near[0]}'?" if near else ".")
            + f" Measured: {', '.join(names)}"
        )
    return task


def open_sweep(spec: Spec, url: str, name: str) -> OpenSweep:
    """Create the study `name` in the study DB at `url`, or resume it if it means the same.

    The caller closes the sweep's storage.

    Raises:
        UserError: the study DB cannot be used, the task cannot be built, or the study exists with
            another meaning; nothing is created then.
    """
    check_storage(url)
    try:
        with open_storage(url, create=False) as there:
            _check_existing(spec, there, name)
    except NoStudiesError:
        pass
    tasks = task_source(spec)
    task = _first_task(spec, tasks)
    epochs = spec.epochs or _largest(spec, "epochs") or task.epochs
    batch_size = spec.batch_size or _largest(spec, "batch_size") or task.batch_size
    storage = open_storage(url)
    found = get_sweep(storage, name)
    if found is None:
        study_id = create_sweep(storage, name, [spec.metric.goal], _record(spec))
    else:
        study_id = found.study_id
    study = optuna.load_study(study_name=name, storage=storage)
    if found is None or found.status == "new":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([spec.metric.name])
        _plan(spec, study, epochs, batch_size)
        set_status(storage, study_id, "ready")
    return OpenSweep(
        spec, tasks, storage, study, study_id, epochs, batch_size, created=found is None
    )


def _largest(spec: Spec, name: str) -> int | None:
    """Return the largest value of a top-level key that is searched, None where it is not."""
    knobs = [k for k in spec.space.knobs if k.owner.kind == "sweep" and k.name == name]
    bounds = [knob.distribution.bounds() for knob in knobs]
    return int(bounds[0][1]) if bounds and bounds[0] is not None else None


def _check_existing(spec: Spec, storage: StudyStorage, name: str) -> None:
    found = get_sweep(storage, name)
    if found is None:
        if any(study.name == name for study in queries.studies(storage)):
            raise UserError(
                f"study '{name}' exists already and was not made by a sweep file. "
                f"Run this file under another name: --name {name}-2"
            )
        return
    changes = differences(found.record.spec["meaning"], spec.meaning())
    if changes:
        listed = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"{spec.path}: study '{name}' exists with other settings, and its trials would "
            f"not compare:{listed}\nRun this file under another name: --name {name}-2"
        )


def _plan(spec: Spec, study: optuna.Study, epochs: int, batch_size: int) -> None:
    """Put the baseline and the enqueued configurations into the study, as waiting trials.

    One that lies in the search space carries its sampled values, so that samplers learn from it;
    one that does not (a default of zero on a log scale, a schedule that is not searched) keeps its
    effective values only.
    """
    planned: list[tuple[str, Config]] = []
    baseline = spec.baseline_config(epochs=epochs, batch_size=batch_size)
    if baseline is not None:
        planned.append(("baseline", baseline))
    enqueued = spec.enqueue_configs(epochs=epochs, batch_size=batch_size)
    planned += [("enqueued", config) for config in enqueued]
    flat = spec.space.flat()
    there = len(study.get_trials(deepcopy=False))
    for origin, config in planned[there:]:
        params = spec.space.encode(config) or {}
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=params,
                distributions={key: flat[key] for key in params},
                user_attrs={"origin": origin, "config": config.to_json()},
            )
        )


def _record(spec: Spec) -> SweepRecord:
    commit, dirty = git_state(spec.path.parent)
    return SweepRecord(
        spec_text=spec.text,
        spec_file=str(spec.path),
        spec={**spec.to_json(), "meaning": spec.meaning()},
        space=spec.space.signature(),
        seed=spec.seed,
        git_commit=commit,
        git_dirty=dirty,
        environment=environment(resolve_device(spec.device)),
    )


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit checked out in `folder` and whether it has changes; None outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None, None
    return commit, bool(git("status", "--porcelain"))


def environment(device: str) -> dict[str, Any]:
    """Return the versions and the machine that results on `device` depend on."""
    import torch

    cuda = device.startswith("cuda")
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "python": sys.version.split()[0],
        "packages": {package: version(package) for package in PACKAGES},
        "platform": sys.platform,
        "cpus": os.cpu_count(),
    }
