"""From a sweep file to a study that is ready to run: create it, or find it and check it.

Order matters for a clean refusal: what shows at once comes first (the file, the storage, a study
of the same name), then what needs torch (the task, its metric, its model, the batch size), and only
then is anything written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from shlex import quote

import optuna

from optimizers.names import closest
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
    set_spec,
)
from sweeps.config import Config
from sweeps.device import resolve_device
from sweeps.drift import CODE, code_hash, has_drifted
from sweeps.engines.base import Tasks
from sweeps.loading import importing
from sweeps.scripts.finding import check_program, no_task
from sweeps.spec import Spec, differences
from sweeps.surroundings import environment, git_state
from sweeps.tasks import HANDLE, load_factory
from sweeps.tasks.task import DEFAULT_BATCH_SIZE, DEFAULT_EPOCHS, Task

TASKS_KEPT = 8


@dataclass(frozen=True)
class OpenSweep:
    """A sweep with all that a worker needs; `tasks` builds the task of a trial's arguments.

    A script has no task, and its `epochs` and `batch_size` are 0: see `horizon`. `function`: the
    task's own, where it trains by itself and there are no tasks to build. `drifted`: the task's
    code has changed since the study was run before.
    """

    spec: Spec
    tasks: Tasks
    storage: StudyStorage
    study: optuna.Study
    study_id: int
    epochs: int
    batch_size: int
    created: bool
    function: Callable[..., object] | None = None
    drifted: bool = False

    @property
    def horizon(self) -> float:
        """How many epochs, or reports of a script, a trial has at most."""
        return self.epochs if self.spec.program is None else inf


@dataclass(frozen=True)
class OpenTask:
    """A sweep file's task, built and checked; `epochs` and `batch_size` are the largest ones.

    `function`: see `OpenSweep`.
    """

    tasks: Tasks
    epochs: int
    batch_size: int
    function: Callable[..., object] | None = None


def open_task(spec: Spec) -> OpenTask:
    """Build the task and a model, and check the sweep file against them; nothing is written.

    Of a script it is only looked whether it is there.

    Raises:
        UserError: the task or its model cannot be built, or does not fit the file; the script, or
            what it is to be run with, is not there.
    """
    if spec.program is not None:
        check_program(spec.program, str(spec.path))
        return OpenTask(no_task, 0, 0)
    tasks = task_source(spec)
    if spec.own_loop:
        epochs = spec.epochs or _largest(spec, "epochs") or DEFAULT_EPOCHS
        batch_size = spec.batch_size or _largest(spec, "batch_size") or DEFAULT_BATCH_SIZE
        return OpenTask(tasks, epochs, batch_size, load_factory(spec.task, spec.path.parent))
    task = _first_task(spec, tasks)
    _check_model(spec, task)
    return OpenTask(tasks, *_sizes(spec, task))


def task_source(spec: Spec) -> Tasks:
    """Return a function from factory arguments to their task; the last ones built are kept.

    Raises:
        UserError: the factory cannot be imported; from the function: it raised something, or
            returned something else.
    """
    factory = load_factory(spec.task, spec.path.parent)
    with importing():
        from sweeps.tasks.data import seed_everything  # torch, which a refusal must not wait for

    @lru_cache(maxsize=TASKS_KEPT)
    def build(arguments: str) -> Task:
        seed_everything(spec.seed)
        try:
            task: object = factory(**json.loads(arguments))
        except UserError:
            raise
        except Exception as error:  # the user's own code may raise anything
            raise UserError(
                f"task '{spec.task}': its factory raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(task, Task):
            raise UserError(
                f"task '{spec.task}': its factory returned a {type(task).__name__}, not a "
                f"sweeps.Task. A function that trains by itself has `{HANDLE}` as its first "
                "parameter"
            )
        return task

    return lambda arguments: build(json.dumps(arguments, sort_keys=True))


def _first_task(spec: Spec, tasks: Tasks) -> Task:
    """Build the task with the first value of each searched argument, and look up the metric."""
    knobs = [knob for knob in spec.space.knobs if knob.owner.kind == "task"]
    task = tasks({knob.name: knob.distribution.first() for knob in knobs})
    names = [f"{split}/{name}" for split in ("train", "valid") for name in ("loss", *task.metrics)]
    if spec.metric.name not in names:
        near = closest(spec.metric.name, names)
        raise UserError(
            f"{spec.path}: metric '{spec.metric.name}' is not measured by task '{spec.task}'"
            + (f"; did you mean '{near}'?" if near else ".")
            + f" Measured: {', '.join(names)}"
        )
    _check_raw_names(spec, task)
    return task


def _check_raw_names(spec: Spec, task: Task) -> None:
    """Refuse a metric that has the name of another one's raw curve, which averaged trials have."""
    known = [entry.get("average", "none") for entry in (spec.baseline or {}, *spec.enqueue)]
    averages = sorted({*spec.average, *known} - {"none"})
    taken = [name for name in ("loss", *task.metrics) if f"{name}_raw" in task.metrics]
    if averages and taken:
        raise UserError(
            f"{spec.path}: metric '{taken[0]}_raw' of task '{spec.task}' has the name under which "
            f"average {averages[0]} shows '{taken[0]}' of the raw weights; rename the metric"
        )


def open_sweep(
    spec: Spec,
    url: str,
    name: str,
    *,
    keep: bool = False,
    look: Callable[[Spec], OpenTask] = open_task,
) -> OpenSweep:
    """Create the study `name` in the study DB at `url`, or resume it if it means the same.

    The caller closes the sweep's storage. `keep`: the study keeps this sweep file from now on, from
    which workers read their budget. `look` does what `open_task` does.

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
    own = look(spec)
    storage = open_storage(url)
    found, drifted = get_sweep(storage, name), False
    if found is None:
        study_id = create_sweep(storage, name, [spec.metric.goal], _record(spec))
    else:
        study_id = found.study_id
        stored = found.record
        drifted = has_drifted(stored.spec, spec)
        before = (stored.spec_text, stored.spec_file, stored.spec.get(CODE))
        if keep and before != (spec.text, _record_path(spec), code_hash(spec)):
            set_spec(storage, study_id, _record(spec))
    study = optuna.load_study(study_name=name, storage=storage)
    sizes = (own.epochs, own.batch_size)
    created, function = found is None, own.function
    return OpenSweep(spec, own.tasks, storage, study, study_id, *sizes, created, function, drifted)


def _check_model(spec: Spec, task: Task) -> None:
    """Build a model once: a factory that cannot work at all is refused before anything is written.

    Raises:
        UserError: `model()` raised.
    """
    try:
        task.model()
    except Exception as error:  # the user's own code may raise anything
        raise UserError(
            f"task '{spec.task}': its model() raised {type(error).__name__}: {error}"
        ) from error


def _sizes(spec: Spec, task: Task) -> tuple[int, int]:
    """Return the largest epochs and batch size; a batch must fit into the training examples.

    Raises:
        UserError: it does not, or the sweep file sets the batch size of a DataLoader.
    """
    from sweeps.tasks.data import example_count, loader_batch_size

    epochs = spec.epochs or _largest(spec, "epochs") or task.epochs
    batch_size = spec.batch_size or _largest(spec, "batch_size")
    own = loader_batch_size(task.train)
    default = own or batch_size or task.batch_size
    known = [
        spec.baseline_config(epochs=epochs, batch_size=default),
        *spec.enqueue_configs(epochs=epochs, batch_size=default),
    ]
    asked = [batch_size or default] + [
        each.batch_size for each in known if isinstance(each, Config)
    ]
    other = [size for size in asked if size != own]
    if own is not None and other:
        raise UserError(
            f"{spec.path}: batch_size is {other[0]}, but task '{spec.task}' trains from a "
            f"DataLoader, whose batches have {own} examples. Leave batch_size out, or give the "
            "task a dataset or tensors"
        )
    if own is None and max(asked) > (examples := example_count(task.train)):
        raise UserError(
            f"{spec.path}: batch_size {max(asked)} is larger than the {examples} training examples "
            f"of task '{spec.task}'; an epoch is n // batch_size full batches. Give at most "
            f"{examples}"
        )
    return epochs, default


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
                f"Run this file under another name: --name {quote(f'{name}-2')}"
            )
        return
    changes = differences(found.record.spec["meaning"], spec.meaning())
    if changes:
        listed = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"{spec.path}: study '{name}' exists with other settings, and its trials would "
            f"not compare:{listed}\nRun this file under another name: --name {quote(f'{name}-2')}"
        )


def _record(spec: Spec) -> SweepRecord:
    commit, dirty = git_state(spec.path.parent)
    return SweepRecord(
        spec_text=spec.text,
        spec_file=_record_path(spec),
        spec={**spec.to_json(), "meaning": spec.meaning(), CODE: code_hash(spec)},
        space=spec.space.signature(),
        seed=spec.seed,
        git_commit=commit,
        git_dirty=dirty,
        environment=environment(resolve_device(spec.device)),
    )


def _record_path(spec: Spec) -> str:
    return str(spec.path.absolute())  # a worker may be started in another folder
