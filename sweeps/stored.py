"""The sweep of a study that exists: its sweep file read back, and what waiting trials wait for."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from studies import COUNTED, StudyStorage, Sweep, UserError, get_sweep, queries
from sweeps.spec import Spec, differences, load_spec


def sweep_of(storage: StudyStorage, study: str) -> Sweep:
    """Return the sweep of `study`.

    Raises:
        UserError: no such study, or one without a sweep.
    """
    queries.status(storage, study)  # refuses an unknown study with the nearest name
    sweep = get_sweep(storage, study)
    if sweep is None:
        raise UserError(
            f"study '{study}' was not made by a sweep file, so its space is not known here. "
            "Use Optuna's study.enqueue_trial"
        )
    return sweep


def stored_spec(sweep: Sweep) -> Spec:
    """Return the sweep file of a study: as it was stored, else as it stands where it was.

    Raises:
        UserError: neither can be used; the message says what to do.
    """
    record = sweep.record
    meaning = record.spec["meaning"]
    stood = Path(record.spec_file or "sweep.yaml")
    file = stood if stood.parent.is_dir() else Path.cwd() / stood.name
    if str(file.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(file.parent.resolve()))  # modules beside it, as in `sweeps run`
    task = meaning.get("task")  # a program has none
    if task is not None:
        task = _task_here(sweep.name, task, stood.parent)
    with tempfile.TemporaryDirectory(prefix="sweeplane-") as folder:
        copy = Path(folder) / file.name
        copy.write_text(record.spec_text, encoding="utf-8")
        try:
            spec = load_spec(copy, {} if task is None else {"task": task})  # with its whole path
            spec = spec.at(file).model_copy(update={"known_as": meaning.get("task")})
            reason = "; ".join(differences(meaning, spec.meaning()))
            if not reason:
                return spec
        except UserError as error:
            reason = str(error).replace(str(copy), str(file)).splitlines()[0]
    try:
        spec = load_spec(file)
        if not differences(meaning, spec.meaning()):
            return spec
    except UserError:
        pass  # the first reason says more
    raise UserError(
        f"study '{sweep.name}': its stored sweep file cannot be used here ({reason}), and "
        f"'{file}' is not that file. Add the configuration to `enqueue:` of the sweep file and "
        "run it"
    )


def _task_here(study: str, task: str, folder: Path) -> str:
    """Return a study's task as it is found on this machine; `folder` is where its sweep file stood.

    A task file is where it was then, else at the same place below the working directory.

    Raises:
        UserError: it is at neither.
    """
    module, _, factory = task.rpartition(":")
    there = Path(module)
    if not module.endswith(".py") or there.is_file():
        return task
    inside = there.relative_to(folder) if there.is_relative_to(folder) else Path(there.name)
    here = Path.cwd() / inside
    if here.is_file():
        return f"{here}:{factory}"
    raise UserError(
        f"study '{study}': its task file is not on this machine, neither as {there} nor as {here}. "
        "Code is not taken from the study DB: copy the file here, e.g. with its repository, and "
        f"start the worker in the folder that has '{inside}'"
    )


def held_up(storage: StudyStorage, study: str) -> str | None:
    """Return what waiting trials of `study` wait for beside their turn; None: a live sweep takes
    them up.
    """
    now, sweep = queries.status(storage, study), get_sweep(storage, study)
    if sweep is None:
        return "they run at the next study.ask of your program"
    budget = sweep.record.spec.get("budget", {}).get("trials")
    taken = storage.get_n_trials(now.study_id, COUNTED)
    if budget is not None and taken >= budget:
        return (
            f"all places of budget.trials ({budget} at the last `sweeps run`) are taken: raise "
            "it in the sweep file, then sweeps run FILE"
        )
    if now.order is not None and now.order.control != "run":
        return f"the study is {now.order.past}: {now.order.go_on(study)}"
    if not now.workers:
        return "nobody runs the study now: sweeps run FILE"
    return None
