"""`sweeps worker`: one more process on a study that exists."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options
from sweeps.keeping import Every, Keeping
from sweeps.loading import importing

if TYPE_CHECKING:
    from sweeps.launch import OpenSweep

DRAINED_EXIT_CODE = 130
WAIT_SECONDS = 2.0
TRAINING = ("sweeps.launch", "sweeps.worker", "torch._dynamo")  # the last by a first optimizer


@click.command()
@click.option("--study", required=True, help="The study to work on; `sweeps list` names them.")
@options.storage
@click.option("--device", metavar="DEVICE", help="auto | cpu | cuda | cuda:N; default: the file's.")
@click.option("--wait", is_flag=True, help="Wait until the study exists.")
@options.lease_seconds
@options.checkpoints
@options.checkpoint_every
@click.option(
    "--led",
    is_flag=True,
    hidden=True,
    help="`sweeps run --workers` holds the other end of standard input: begin after a line, drain "
    "at the end.",
)
def worker(
    study: str,
    storage: str,
    device: str | None,
    wait: bool,
    lease_seconds: float,
    checkpoints: Path | None,
    checkpoint_every: Every | None,
    led: bool,
) -> None:
    """Work on STUDY beside whoever does already, until its budget is met.

    The sweep file's text comes from the study DB, its task from the file's folder. Any number of
    workers may join, from any machine that reaches the study DB; Ctrl-C drains this one. Give all
    of them one --checkpoints folder, so that each can go on with what another left. Trials reach
    MLflow by `sweeps run`. Exit code 130: it was stopped before the end, by Ctrl-C, `sweeps stop`
    or `sweeps cancel`.

    \b
    Examples:
      sweeps worker --study digits
      sweeps worker --study digits --storage postgresql+psycopg://user@host/sweeps
      sweeps worker --study digits --checkpoints /shared/digits --checkpoint-every 5m
      sweeps worker --study digits --wait       before anybody has run it
    """
    if led and not _told_to_begin():
        return
    if wait:
        _wait_for(study, storage)
    sweep = _open(study, storage, device, known=led)
    use_one_thread()
    own = {"lease_seconds": lease_seconds, "keeping": Keeping(checkpoints, checkpoint_every)}
    with sweep.storage:
        click.echo(f"Joined study '{study}' in {sweep.storage}")
        reason, drained = _train(sweep, own, led=led)
    click.echo(f"Ended: {reason}.")
    if drained:
        sys.exit(DRAINED_EXIT_CODE)


def _train(sweep: OpenSweep, own: dict[str, Any], *, led: bool) -> tuple[str, bool]:
    with importing():
        from sweeps.cli.live import live, warnings_after
        from sweeps.worker import Worker

    with (
        warnings_after() as warnings,
        Worker(sweep, leads=False, warn=warnings.append, **own) as working,
    ):
        if led:
            threading.Thread(target=_drain_at_eof, args=(working.drain,), daemon=True).start()
        with live(working.progress, sweep.spec.metric.name, quiet=False):
            reason = working.run()
        return reason, working.drained


def _told_to_begin() -> bool:
    """Import what training takes; return whether there is a study then."""
    with importing():
        for module in TRAINING:
            import_module(module)
    return bool(os.read(0, 1024))  # nothing: `sweeps run` has ended before it made the study


def _wait_for(study: str, storage: str) -> None:
    """Wait until `study` is a sweep; a study DB without tables, or out of reach, is waited for."""
    from studies import NoStudiesError, get_sweep, open_storage, retrying

    click.echo(f"Waiting for study '{study}'")
    while True:
        with (
            suppress(NoStudiesError),
            retrying.known(),
            open_storage(storage, create=False) as store,
        ):
            if get_sweep(store, study) is not None:
                return
        time.sleep(WAIT_SECONDS)


def use_one_thread() -> None:
    """Train on one thread, unless OMP_NUM_THREADS says otherwise."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # for a small model, more threads only wait for each other


def _open(study: str, storage: str, device: str | None, *, known: bool) -> OpenSweep:
    """Open a study; `known`: its study DB was reached before, so it is waited for."""
    from studies import open_storage, retrying
    from sweeps.launch import open_sweep
    from sweeps.stored import stored_spec, sweep_of

    with retrying.known() if known else nullcontext():
        with open_storage(storage, create=False) as store:
            spec = stored_spec(sweep_of(store, study))
        if device:
            spec = spec.model_copy(update={"device": device})
        return open_sweep(spec, storage, study)


def _drain_at_eof(drain: Callable[[], None]) -> None:
    from studies.retrying import hurry

    while os.read(0, 1024):  # not sys.stdin: a thread that waits in it cannot be ended
        pass
    hurry()
    drain()
