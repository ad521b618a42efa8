"""The sweep service: sweep files, search spaces, engines, workers, tracking and the CLI.

    sweep.yaml -> spec -> space -> feed.take (Optuna ask, lease, budget) -> engine
               -> feed.report (points -> study DB, prune?) -> feed.finish (Optuna tell) -> tracking

In the order of reading:

    spec/ space/       the sweep file and its search space; config.py: one trial's values
    launch.py plan.py  a study that is ready to run, and its known configurations
    worker.py          one process that works on it; member.py: its heartbeat and signals
    crew.py place.py   several processes of this machine, and the place of each; starting.py
                       starts them ahead of time, loading.py: imports without the collector
    control.py         what pause, resume, stop and cancel mean to such a process
    feed.py            what an engine sees; asking.py, budget.py, pruning.py, breaker.py
    counts.py          how far a sweep may go and is; grid_points.py
    outcomes.py        how a trial ends, and what is kept of it
    resuming.py        trials that go on; checkpoints.py, state_tree.py: their files; keeping.py
    sampling/          what is tried next
    engines/ tasks/    training, and what is trained: engines/function.py calls functions that
                       train by themselves, handle.py is what they get, reports.py what they say
    scripts/           a trial that is a run of any script; reporting.py: what the script calls
    tracking/          MLflow follows; mlflow_ui.py serves it
    forecast.py        what a sweep would take; numbers.py: what its workers do
    enqueue.py retry.py                what people put in; stored.py reads their sweep back
    summary.py export.py preview.py    what people take away; cli/ prints it

`Task` is what a user's own factory returns, `TrialHandle` what a function that trains by itself
takes, `report` what a script calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.engines.handle import TrialHandle
    from sweeps.reporting import report
    from sweeps.tasks.task import Task

__all__ = ["Task", "TrialHandle", "report"]


def __getattr__(name: str) -> object:
    if name == "Task":
        from sweeps.tasks.task import Task

        return Task
    if name == "report":
        from sweeps.reporting import report

        return report
    if name == "TrialHandle":
        from sweeps.engines.handle import TrialHandle

        return TrialHandle
    raise AttributeError(f"module 'sweeps' has no attribute '{name}'")
