"""`sweeps worker`: one more process on a study that exists, or several."""

from __future__ import annotations

import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from sweeps.cli import options
from sweeps.loading import importing

if TYPE_CHECKING:
    from sweeps.crew import Crew
    from sweeps.launch import OpenSweep
    from sweeps.place import Place
    from sweeps.spec import Spec
    from sweeps.worker import Worker

DRAINED_EXIT_CODE = 130
WAIT_SECONDS = 2.0
TRAINING = ("sweeps.launch", "sweeps.worker", "torch._dynamo")  # the last by a first optimizer


@click.command()
@click.option("--study", required=True, help="The study to work on; `sweeps list` names them.")
@options.storage
@click.option("--device", metavar="DEVICE", help="auto | cpu | cuda | cuda:N; default: the file's.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on this machine; one that dies is started again.",
)
@click.option("--wait", is_flag=True, help="Wait until the study exists.")
@click.option(
    "--idle-exit",
    metavar="TIME",
    type=options.Time(),
    help="Leave after so long without a trial: others hold them all, or the study is paused. "
    "Default: wait for what they leave.",
)
@click.option("--allow-code-drift", is_flag=True, help="Work with a task file that has changed.")
@options.lease_seconds
@options.checkpoints
@options.checkpoint_every
@options.grace
@options.log
@click.option(
    "--led",
    is_flag=True,
    hidden=True,
    help="Another process holds the other end of standard input: begin after a line, drain at the "
    "end.",
)
@click.option("--look", hidden=True, type=click.Path(path_type=Path), help="See sweeps.checking.")
def worker(study: str, storage: str, **given: Any) -> None:
    """Work on STUDY beside whoever does already, until its budget is met.

    The sweep file's text comes from the study DB. The task's code does not: it is what stands on
    this machine, where it stood for `sweeps run` or else in the working directory, and a task file
    that has changed is refused. Any number of workers may join, from any machine that reaches the
    study DB. Give all of them one --checkpoints folder, so that each can go on with what another
    left. Trials reach MLflow by `sweeps run`.

    Ctrl-C or SIGTERM: it takes no more, hands its trials back with checkpoints, and has ended
    within --grace; a second signal ends it at once. Exit code 130: it was stopped before the end,
    by a signal, `sweeps stop` or `sweeps cancel`.

    \b
    Examples:
      sweeps worker --study digits
      sweeps worker --study digits --storage postgresql+psycopg://user@host/sweeps
      sweeps worker --study digits --count 4 --device cuda:1 --idle-exit 5m
      sweeps worker --study digits --checkpoints /shared/digits --checkpoint-every 5m
      sweeps worker --study digits --wait       before anybody has run it
    """
    led = given["led"]
    if led and not _told_to_begin(given["look"]):
        return
    logs = in_json(given["log"], study, sys.stdout if led else sys.stderr, errors=not led)
    if given["wait"]:
        _wait_for(study, storage, logs=logs)
    own = {**options.terms(given), "idle_exit": given["idle_exit"] or math.inf}
    if _work(study, storage, own, given, logs=logs):
        sys.exit(DRAINED_EXIT_CODE)


def _work(
    study: str, storage: str, own: Mapping[str, Any], given: Mapping[str, Any], *, logs: bool
) -> bool:
    """Train, and say why it ended; return whether it was stopped before that."""
    from studies import retrying
    from sweeps.launch import open_sweep

    drift, led, places = given["allow_code_drift"], given["led"], list["Place"]()
    with ExitStack() as stack:
        # A worker that is led knows that the study DB was there: it is waited for.
        with retrying.known() if led else nullcontext():
            spec = _spec(study, storage, given["device"], drift=drift)
            if given["count"] > 1:
                from sweeps.starting import led_command, starting

                command = led_command(study, **own, drift=drift, logs=logs)
                devices = [spec.device] * given["count"]
                places = stack.enter_context(starting(storage, devices, command, logs=logs))
            sweep = open_sweep(spec, storage, study)
        stack.enter_context(sweep.storage)
        tell(f"Joined study '{study}' in {sweep.storage}", logs=logs)
        reason, drained = _train(sweep, places, own, led=led, logs=logs)
    tell(f"Ended: {reason}.", logs=logs)
    return drained


def _train(
    sweep: OpenSweep, places: list[Place], own: Mapping[str, Any], *, led: bool, logs: bool
) -> tuple[str, bool]:
    with importing():
        from sweeps.cli.live import live, warnings_after

    with warnings_after(logs=logs) as warn:
        working: Worker | Crew
        if places:
            from sweeps.crew import Crew

            lease = own["lease_seconds"]
            working = Crew(sweep, places, lambda: None, lease_seconds=lease, warn=warn, leads=False)
        else:
            with importing():
                from sweeps.worker import Worker

            use_one_thread()
            working = Worker(sweep, leads=False, warn=warn, **own)
        with working:
            if led:
                threading.Thread(target=_drain_at_eof, args=(working.drain,), daemon=True).start()
            with live(working.progress, sweep.spec.metric.name, quiet=logs):
                reason = working.run()
        return reason, working.drained


def in_json(log: str, study: str, stream: TextIO, *, errors: bool = True) -> bool:
    """Begin JSON logs if `--log` asks for them; return whether it does."""
    if log == "json":
        from sweeps.logs import to_json_lines

        to_json_lines(study, stream, errors=errors)
    return log == "json"


def tell(text: str, *, logs: bool) -> None:
    """Print a line, or log it."""
    if logs:
        from sweeps.logs import event

        event(text)
    else:
        click.echo(text)


def _told_to_begin(request: Path | None) -> bool:
    """Import what training takes; return whether there is a study then."""
    with importing():
        for module in TRAINING:
            import_module(module)
    if request is not None:
        from sweeps.checking import answer

        with _ended_with_its_leader():  # the user's own code may take its time
            answer(request)
    return bool(os.read(0, 1024))  # nothing: `sweeps run` has ended before it made the study


@contextmanager
def _ended_with_its_leader() -> Iterator[None]:
    """Within: end this process when nobody holds the other end of standard input any more."""
    over, poll = threading.Event(), select.poll()
    poll.register(0, 0)  # tells of a hang-up alone

    def watch() -> None:
        while not over.is_set():
            if poll.poll(200):
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _wait_for(study: str, storage: str, *, logs: bool) -> None:
    """Wait until `study` is a sweep; a study DB without tables, or out of reach, is waited for."""
    from studies import NoStudiesError, get_sweep, open_storage, retrying

    tell(f"Waiting for study '{study}'", logs=logs)
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


def _spec(study: str, storage: str, device: str | None, *, drift: bool) -> Spec:
    """Read a study's sweep file; `drift`: its task's code may have changed."""
    from studies import open_storage
    from sweeps.drift import refuse_drift
    from sweeps.stored import stored_spec, sweep_of

    with open_storage(storage, create=False) as store:
        sweep = sweep_of(store, study)
    spec = stored_spec(sweep)
    if not drift:
        refuse_drift(study, sweep.record.spec, spec)
    return spec.model_copy(update={"device": device}) if device else spec


def _drain_at_eof(drain: Callable[[], None]) -> None:
    from studies.retrying import hurry

    while os.read(0, 1024):  # not sys.stdin: a thread that waits in it cannot be ended
        pass
    hurry()
    drain()
