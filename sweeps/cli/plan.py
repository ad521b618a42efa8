"""`sweeps plan FILE`: what a sweep would take, before there is a study."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, render

if TYPE_CHECKING:
    from sweeps.forecast import Extent, Forecast
    from sweeps.spec import Spec


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", metavar="DEVICE", help="auto | cpu | cuda | cuda:N; default: the file's.")
@click.option(
    "--workers",
    metavar="N",
    type=options.AutoOrCount(),
    help="Processes, each with a core or a device of its own, or auto (1); default: the file's.",
)
@click.option("--price", type=click.FloatRange(min=0), help="Of a device-hour, in any currency.")
@options.json_output
def plan(
    file: Path, device: str | None, workers: int | str | None, price: float | None, as_json: bool
) -> None:
    """Try a few steps of FILE's task, and say what its whole budget would take.

    It prints whether trials train in lanes and how many, or why not; steps a second alone and in
    lanes; memory; the time, device-hours and cost of the budget, from no pruning to the pruner's
    best case; which knobs do not share lanes. A function that trains by itself is not tried. No
    study is created, and nothing is written.

    \b
    Examples:
      sweeps plan sweep.yaml
      sweeps plan sweep.yaml --workers 4 --price 2.50
      sweeps plan sweep.yaml --device cuda --json
    """
    from sweeps.cli.worker import use_one_thread
    from sweeps.forecast import forecast
    from sweeps.spec import load_spec

    asked = {"device": device, "workers": workers}
    with redirect_stdout(sys.stderr):  # what the user's own code prints
        spec = load_spec(file, {key: value for key, value in asked.items() if value is not None})
    if spec.own_loop:
        _print_own_loop(file, spec, as_json=as_json)
        return
    with redirect_stdout(sys.stderr):
        use_one_thread()
        count = spec.workers if isinstance(spec.workers, int) else 1  # not "auto"
        found = forecast(spec, count)
    if as_json:
        render.echo_json({"file": str(file), **_json(found, price)})
        return
    click.echo(f"{file}: task {spec.task}, {spec.precision}, on {found.device}\n")
    _print(found, price)


def _print_own_loop(file: Path, spec: Spec, *, as_json: bool) -> None:
    """Say of a function that trains by itself what is known before it is called."""
    from sweeps.forecast import trials_of
    from sweeps.launch import open_task

    trials, epochs = trials_of(spec), open_task(spec).epochs
    if as_json:
        known = {"fuses": False, "reason": render.OWN_LOOP, "lanes": 1}
        render.echo_json({"file": str(file), **known, "trials": trials, "epochs": epochs})
        return
    click.echo(
        f"{file}: task {spec.task}\n\n"
        f"Lanes: none, {render.OWN_LOOP}.\n"
        f"Budget: {trials} trials x {epochs} epochs, which are its reports of {spec.metric.name}. "
        "What they take shows when it runs: nothing of it can be tried beforehand."
    )


def _print(found: Forecast, price: float | None) -> None:
    screen, tried = render.console(), found.tried
    for note in found.notes:
        click.echo(f"Note: {note}")
    click.echo(f"Lanes: {_verdict(found)}")
    screen.print(render.table(["at once>", "steps/s>", "times as fast>"], _paces(found)))
    click.echo(
        f"Memory: {tried.parameters:,} parameters, {_size(tried.model_bytes)} a model with its "
        f"buffers; {_size(tried.process_bytes)} by this process\n"
    )
    repeats = "" if found.repeats == 1 else f" x {found.repeats} repeats"
    click.echo(
        f"Budget: {found.trials} trials{repeats} x {found.config.epochs} epochs x {tried.steps} "
        f"steps, {found.workers} worker{'s' if found.workers > 1 else ''}, {found.lanes} at once"
    )
    columns = ["", "epochs>", "time>", "device-hours>", *(["cost>"] if price is not None else [])]
    screen.print(render.table(columns, [_row(*each, price) for each in _extents(found)]))
    if found.least is None:
        click.echo("How much the pruner saves depends on the trials: there is no best case.")
    for line in _sharing(found):
        click.echo(line)
    click.echo("Assumed: " + "; ".join(found.assumed) + ".")


def _verdict(found: Forecast) -> str:
    if found.tried.reason:
        return f"none, trials train one by one: {found.tried.reason}"
    most = found.tried.ladder.most
    few = "" if found.lanes == most else f" ({most} pay; the budget and the method leave fewer)"
    return f"{found.lanes} train at once in each worker{few}"


def _paces(found: Forecast) -> list[tuple[object, ...]]:
    alone = found.paces[1]
    return [(k, f"{pace:,.0f}", f"{pace / alone:.2f}") for k, pace in found.paces.items()]


def _extents(found: Forecast) -> list[tuple[str, Extent]]:
    rows = [("without pruning", found.most)]
    if found.least is not None and found.least != found.most:
        rows.append(("the pruner's best case", found.least))
    return rows


def _row(name: str, extent: Extent, price: float | None) -> tuple[str, ...]:
    cost = () if price is None else (f"{price * extent.device_hours:,.2f}",)
    hours = render.number(extent.device_hours, 3)
    return name, f"{extent.epochs:,.0f}", render.duration(extent.seconds), hours, *cost


def _sharing(found: Forecast) -> list[str]:
    """Return the lines on what shares lanes and what does not."""
    lines = [f"Split cohorts, each with lanes of its own: {', '.join(found.splitting) or 'none'}"]
    if found.switches:
        lines.append(f"Share lanes, with updates of their own: {', '.join(found.switches)}")
    lines.append(f"Optimizers without lanes: {', '.join(found.apart) or 'none'}")
    lines.append("Schedules and averages without lanes: none")
    return lines


def _json(found: Forecast, price: float | None) -> dict[str, Any]:
    tried = found.tried

    def extent(of: Extent | None) -> dict[str, float | None] | None:
        if of is None:
            return None
        cost = None if price is None else price * of.device_hours
        return {**asdict(of), "device_hours": of.device_hours, "cost": cost}

    return {
        "device": found.device,
        "fuses": not tried.reason,
        "reason": tried.reason or None,
        "lanes": found.lanes,
        "steps_per_second": {str(lanes): pace for lanes, pace in found.paces.items()},
        "evaluation_seconds": tried.evaluation_seconds,
        "parameters": tried.parameters,
        "model_bytes": tried.model_bytes,
        "process_bytes": tried.process_bytes,
        "trials": found.trials,
        "repeats": found.repeats,
        "epochs": found.config.epochs,
        "steps_per_epoch": tried.steps,
        "workers": found.workers,
        "without_pruning": extent(found.most),
        "best_case": extent(found.least),
        "splitting": list(found.splitting),
        "switches": list(found.switches),
        "optimizers_without_lanes": list(found.apart),
        "assumed": list(found.assumed),
        "notes": list(found.notes),
    }


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"
