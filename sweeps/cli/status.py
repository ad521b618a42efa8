"""`sweeps list | status`: where studies stand, and who works on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, pace, render
from sweeps.cli.options import study_argument
from sweeps.cli.results import leaderboard_table, row_json
from sweeps.cli.settled import open_settled
from sweeps.numbers import Numbers, together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rich.table import Table

    from studies import StudyStorage
    from studies.queries import StudyStatus


@click.command("list")
@options.storage
@options.json_output
def list_studies(storage: str, as_json: bool) -> None:
    """List the studies of a study DB.

    \b
    Examples:
      sweeps list
      sweeps list --storage sqlite:///other.db --json
    """
    from studies import Order, queries

    with open_settled(storage) as store:
        found = queries.studies(store)
    if as_json:
        render.echo_json([render.plain(asdict(study)) for study in found])
        return
    names = "study status trials> complete> pruned> failed> best>"
    columns = [*names.split(), "last (UTC)"]
    rows = [
        (
            s.name,
            s.status if s.control in (None, "run") else f"{s.status} ({Order(s.control).past})",
            s.trials,
            s.complete,
            s.pruned,
            s.failed,
            s.best,
            _moment(s.last_activity),
        )
        for s in found
    ]
    render.console().print(render.table(columns, rows))


@click.command()
@study_argument
@options.top
@options.storage
@options.json_output
def status(study: str, top: int, storage: str, as_json: bool) -> None:
    """Show how far STUDY is: counts, best so far, its workers, and its leaderboard.

    \b
    Examples:
      sweeps status digits
      sweeps status digits --top 3 --json
    """
    from studies import queries

    with open_settled(storage) as store:
        now = queries.status(store, study)
        numbers = _numbers(store, now)
        if as_json:
            rows = queries.leaderboard(store, study, top=top)
            found = {**_json(now, numbers), "leaderboard": [row_json(r) for r in rows]}
            render.echo_json(render.plain(found))
            return
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(now.outcomes.items()))
        click.echo(
            f"{now.name}: {now.status or 'a plain Optuna study'}, {_who(now)}\n"
            f"{now.trials} trials: {counts or 'none ended'}, {now.running} running, "
            f"{now.waiting} waiting; {render.duration(now.seconds)} of training"
        )
        if now.best is not None:
            click.echo(f"best {now.metric}: {render.number(now.best[1])} (trial {now.best[0]})")
        order = _order(now)
        if order is not None:
            click.echo(order)
        if now.workers:
            _print_workers(now, numbers)
        render.console().print(leaderboard_table(store, study, top))


def _who(now: StudyStatus) -> str:
    if not now.workers:
        gone = now.status == "running"
        return (
            "run by a process which is gone; `sweeps run` takes over" if gone else "nobody runs it"
        )
    named = [f"process {w.process.pid} on {w.process.host}" for w in now.workers]
    return f"run by {', '.join(named)}"


def _order(now: StudyStatus) -> str | None:
    """Return that a study is paused or stopped, why, and how to go on."""
    order = now.order
    if order is None or order.control == "run":
        return None
    since = "" if order.since is None else f" since {order.since:%Y-%m-%d %H:%M:%S} UTC"
    why = f"{order.past}{since}: {order.reason}" if order.reason else f"{order.by}{since}"
    return f"{why}. To go on: {order.go_on(now.name)}"


def _numbers(storage: StudyStorage, now: StudyStatus) -> dict[int, Numbers]:
    """Return what the live workers do, by their ids."""
    from studies.pulse import read_pulse

    pulse = read_pulse(storage, now.study_id)
    return {worker.worker_id: Numbers.from_json(said) for worker, said in pulse.workers}


def _print_workers(now: StudyStatus, numbers: Mapping[int, Numbers]) -> None:
    known = {w.process.name: numbers[w.worker_id] for w in now.workers if w.worker_id in numbers}
    screen = render.console()
    for part in (_workers_table(now, numbers), *pace.picture(known)):
        screen.print(part)


def _workers_table(now: StudyStatus, numbers: Mapping[int, Numbers]) -> Table:
    lanes = {worker_id: pace.lanes(own) for worker_id, own in numbers.items()}
    rows = [
        (
            w.process.name,
            w.device,
            lanes.get(w.worker_id, w.lanes or "watches"),
            f"{render.duration(w.heartbeat_age)} ago",
            ", ".join(map(str, now.holding.get(w.worker_id, ()))) or "-",
        )
        for w in now.workers
    ]
    return render.table(["worker", "device", "lanes>", "heartbeat>", "trials"], rows)


def _json(now: StudyStatus, numbers: Mapping[int, Numbers]) -> dict[str, Any]:
    found = asdict(now)
    del found["holding"]
    workers = [
        render.worker_json(w, now.holding.get(w.worker_id, ()))
        | {"numbers": None if (own := numbers.get(w.worker_id)) is None else own.as_json()}
        for w in now.workers
    ]
    all_of_them = together(numbers.values())
    return found | {
        "workers": workers,
        "numbers": None if all_of_them is None else all_of_them.as_json(),
    }


def _moment(when: datetime | None) -> str:
    return "-" if when is None else when.strftime("%Y-%m-%d %H:%M")
