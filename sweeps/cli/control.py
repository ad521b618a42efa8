"""`sweeps pause | resume | stop | cancel`: what the workers of a study are to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from studies.timing import BEATS_PER_LEASE
from sweeps.cli import options, render
from sweeps.cli.options import study_argument

if TYPE_CHECKING:
    from studies import Given, StudyStorage
    from studies.queries import StudyStatus
    from studies.schema import Control

LOOK_SECONDS = 0.2

wait = click.option(
    "--wait",
    is_flag=True,
    help="Wait until it is done; a worker that falls silent is waited for as long as its lease. "
    "Exit code 1: the study was told something else meanwhile.",
)


@click.command()
@study_argument
@wait
@options.storage
@options.json_output
def pause(study: str, wait: bool, storage: str, as_json: bool) -> None:
    """Let the workers of STUDY end their epoch, hand their trials back, and wait.

    They hear of it within a third of a lease (5 s). They stay, and go on after `sweeps resume`; the
    sweep's wall clock (`budget.time`) stands still. Workers that join wait too.

    \b
    Examples:
      sweeps pause digits
      sweeps pause digits --wait && nvidia-smi
    """
    _command(study, "pause", storage, wait=wait, as_json=as_json)


@click.command()
@study_argument
@options.storage
@options.json_output
def resume(study: str, storage: str, as_json: bool) -> None:
    """Let STUDY go on after `sweeps pause`, `sweeps stop` or `sweeps cancel`.

    Workers that were paused take trials again; only this command ends a pause. After a stop or a
    cancel, `sweeps run FILE` goes on by itself; this lets `sweeps worker` join again.

    \b
    Examples:
      sweeps resume digits
      sweeps resume digits --json
    """
    _command(study, "run", storage, wait=False, as_json=as_json)


@click.command()
@study_argument
@wait
@options.storage
@options.json_output
def stop(study: str, wait: bool, storage: str, as_json: bool) -> None:
    """Let every worker of STUDY end its epoch, hand its trial back, and leave.

    As Ctrl-C does, for all of them, on every machine. `sweeps run FILE` goes on from there.

    \b
    Examples:
      sweeps stop digits
      sweeps stop digits --wait && sweeps delete digits
    """
    _command(study, "stop", storage, wait=wait, as_json=as_json)


@click.command()
@study_argument
@click.argument("trials", nargs=-1, type=click.IntRange(min=0), metavar="[TRIAL]...")
@wait
@options.storage
@options.json_output
def cancel(study: str, trials: tuple[int, ...], wait: bool, storage: str, as_json: bool) -> None:
    """Give the trials of STUDY back at once and end its workers; or end single TRIALs for good.

    Without TRIAL: as `sweeps stop`, but nobody waits for the end of an epoch; the trials wait for
    the next `sweeps run FILE`. With TRIAL: these end with the outcome cancelled, hold no place of
    the budget and count as no failure; their workers go on with others.

    \b
    Examples:
      sweeps cancel digits
      sweeps cancel digits 17 18
    """
    if not trials:
        _command(study, "cancel", storage, wait=wait, as_json=as_json)
        return
    if wait:
        raise click.UsageError("trials are cancelled at once: there is nothing to --wait for")
    from studies import cancel_trials, open_storage

    wanted = sorted(set(trials))
    with open_storage(storage, create=False) as store:
        ended = cancel_trials(store, study, wanted)
    before = [number for number in wanted if number not in ended]
    if as_json:
        render.echo_json({"study": study, "cancelled": ended, "cancelled_before": before})
        return
    if before:
        click.echo(f"Cancelled before: {numbers_of(before)}.")
    if ended:
        click.echo(
            f"Cancelled for good: {numbers_of(ended)}. A worker that trains one turns to another "
            f"with its next heartbeat. To train it after all: sweeps retry {quote(study)} "
            f"{ended[0]}"
        )


def _command(study: str, control: Control, storage: str, *, wait: bool, as_json: bool) -> None:
    from studies import give, open_storage, queries

    done: bool | None = None
    with open_storage(storage, create=False) as store:
        given = give(store, study, control)
        if not as_json:
            click.echo(_words(given, queries.status(store, study)))
        if wait:
            done = _wait(store, given, quiet=as_json)
        if as_json:
            render.echo_json(render.plain(_json(given, queries.status(store, study), done=done)))
        elif done:
            click.echo("Done: no trial is running.")
    if done is False:
        sys.exit(1)


def _words(given: Given, now: StudyStatus) -> str:
    """Return what a command did, and what is next."""
    order, control = given.order, given.order.control
    workers = [worker for worker in given.workers if worker.lanes]
    held = sorted(n for w in workers for n in now.holding.get(w.worker_id, ()))
    trials = f" ({numbers_of(held)})" if held else ""
    who = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}: "
    doing = {
        "run": "trials are taken again within",
        "pause": f"the epoch ends, trials are handed back{trials}; heard within",
        "stop": f"the epoch ends, trials are handed back{trials}, then they leave; heard within",
        "cancel": "they leave within",
    }[control]
    soon = max((worker.lease_seconds for worker in workers), default=0.0) / BEATS_PER_LEASE
    then = f"{who}{doing} {soon:.2g} s." if workers else "Nobody works on it now."
    back = f" Given back: {numbers_of(given.back)}." if given.back else ""
    head = f"Study '{given.study}' is {order.past}"
    if order == given.before and order.since is not None:
        head += f" since {order.since:%H:%M:%S} UTC"
    on = "" if control == "run" and workers else f" To go on: {order.go_on(given.study)}"
    return f"{head}.{back} {then}{on}"


def _json(given: Given, now: StudyStatus, *, done: bool | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "study": given.study,
        "before": given.before.control,
        "control": given.order.control,
        "since": given.order.since,
        "given_back": list(given.back),
        "workers": [render.worker_json(w, now.holding.get(w.worker_id, ())) for w in now.workers],
    }
    return found if done is None else {**found, "done": done}


def _wait(store: StudyStorage, given: Given, *, quiet: bool) -> bool:
    """Wait until the workers have done what they are told; return whether they did.

    Not so: somebody let the study go on meanwhile. A worker that is silent is not waited for.
    """
    from studies import queries

    shown = None
    while True:
        now = queries.status(store, given.study)
        control = given.order.control
        if now.order is None or now.order.control != control:
            said = "it is no sweep now" if now.order is None else f"it is {now.order.past}"
            click.echo(
                f"Study '{given.study}' was told something else meanwhile: {said}. "
                f"See sweeps status {quote(given.study)}",
                err=True,
            )
            return False
        held = sorted(n for w in now.workers for n in now.holding.get(w.worker_id, ()))
        if not held and (control == "pause" or not now.workers):
            return True
        if not quiet and (held, len(now.workers)) != shown:
            shown = (held, len(now.workers))
            trials = f"{numbers_of(held)} still running" if held else "no trial is running"
            click.echo(f"{trials}; {len(now.workers)} live: {_pids(now)}", err=True)
        time.sleep(LOOK_SECONDS)


def _pids(now: StudyStatus) -> str:
    return ", ".join(f"{worker.process.host}:{worker.process.pid}" for worker in now.workers)


def numbers_of(trials: Sequence[int]) -> str:
    """Return trials in words."""
    return f"trial{'s' if len(trials) > 1 else ''} {', '.join(map(str, trials))}"
