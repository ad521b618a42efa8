"""`sweeps run FILE`: the main job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, render
from sweeps.cli.files import say_passed_over
from sweeps.cli.places import places_of
from sweeps.cli.worker import DRAINED_EXIT_CODE, in_json, tell, use_one_thread
from sweeps.loading import importing

if TYPE_CHECKING:
    from sweeps.crew import Crew
    from sweeps.launch import OpenSweep
    from sweeps.place import Tended
    from sweeps.spec import Spec
    from sweeps.worker import Worker

DRIFTED = (
    "{file} has changed since study '{study}' was last run: trials before and after it may not "
    "compare, and workers that join have to have this version"
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Study name; default: the file's `name`, else its stem.")
@click.option(
    "--storage",
    metavar="URL",
    envvar="SWEEPS_STORAGE",
    show_envvar=True,
    help="The study DB; default: the file's `storage`, else sqlite:///sweeps.db.",
)
@click.option(
    "--tracking",
    metavar="URI",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    help="MLflow's tracking store, or none; default: the file's, else sqlite:///mlflow.db.",
)
@click.option("--device", metavar="DEVICE", help="auto | cpu | cuda | cuda:N; default: the file's.")
@click.option(
    "--workers",
    metavar="N",
    type=options.AutoOrCount(),
    help="Processes on this machine; auto: one a GPU, or on a CPU one a core with 8 trials of the "
    "budget for each; default: the file's, else auto.",
)
@options.on_a_cluster
@options.lease_seconds
@options.checkpoints
@options.checkpoint_every
@options.grace
@options.log
@options.json_output
def run(
    file: Path,
    name: str | None,
    storage: str | None,
    tracking: str | None,
    device: str | None,
    workers: int | str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Create the study that FILE describes, or resume it, and train until its budget is met.

    Ctrl-C drains: the current epoch ends, the trial is handed back, and the same command goes on
    later, with the next epoch. Nothing that finished is lost by a kill either, and a trial that was
    cut short goes on from its checkpoint. More workers may join from elsewhere: `sweeps worker`.
    Exit code 130: it was stopped before its end, by Ctrl-C, `sweeps stop` or `sweeps cancel`.

    \b
    Examples:
      sweeps run sweep.yaml
      sweeps run sweep.yaml --name second-try --device cpu
      sweeps run sweep.yaml --workers 4
      sweeps run sweep.yaml --checkpoint-every 5m
      sweeps run sweep.yaml --on ray --address auto --workers 16 --gpus-per-worker 1
      sweeps run sweep.yaml --tracking none --json > result.json
    """
    # What the user's own code prints must not stand in the JSON.
    users = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with users:
        spec = _read(file, {"device": device, "workers": workers})
    say_passed_over(spec)
    names = (storage or spec.storage, name or spec.name, tracking or spec.tracking)
    in_json(given["log"], names[1], sys.stderr)
    if _run(spec, *names, given, users, as_json=as_json):
        sys.exit(DRAINED_EXIT_CODE)


def _run(
    spec: Spec,
    url: str,
    study: str,
    tracking: str,
    given: Mapping[str, Any],
    users: AbstractContextManager[object],
    *,
    as_json: bool,
) -> bool:
    """Train, and say what came of it; return whether it was stopped before its end."""
    from sweeps.starting import led_command

    own, logs = options.terms(given), given["log"] == "json"
    with ExitStack() as stack:
        with users:
            command = led_command(study, **own, logs=logs)
            spec, places, look = places_of(stack, spec, url, command, given)
            sweep = _open(spec, url, study, tracking, look)
        stack.enter_context(sweep.storage)
        with users:
            reason, drained = _train(sweep, places, tracking, own, quiet=as_json, logs=logs)
        _summary(sweep, reason, tracking, as_json=as_json)
    return drained


def _read(file: Path, asked: Mapping[str, Any]) -> Spec:
    with importing():
        from sweeps.spec import load_spec

    return load_spec(file, {key: value for key, value in asked.items() if value is not None})


def _open(spec: Spec, url: str, study: str, tracking: str, look: Mapping[str, Any]) -> OpenSweep:
    with importing():
        from sweeps.device import resolve_device
        from sweeps.launch import open_sweep
        from sweeps.tracking import check_uri

    if spec.device.startswith("cuda"):
        resolve_device(spec.device)
    if tracking != "none":
        check_uri(tracking)
    return open_sweep(spec, url, study, keep=True, **look)


def _train(
    sweep: OpenSweep,
    places: Sequence[Tended],
    tracking: str,
    own: Mapping[str, Any],
    *,
    quiet: bool,
    logs: bool,
) -> tuple[str, bool]:
    with importing():
        from sweeps.cli.live import live, warnings_after
        from sweeps.drift import code_file
        from sweeps.tracking import Follower

    with warnings_after(logs=logs) as warn:
        name = sweep.study.study_name
        follower = None
        if tracking != "none":
            follower = Follower(sweep.storage.url, name, tracking, on_warning=warn)
        changed = follower.wake if follower else lambda: None
        worker = _worker(sweep, places, changed, warn, own)
        if sweep.drifted:
            warn(DRIFTED.format(file=code_file(sweep.spec), study=name))
        if not quiet or logs:
            verb = "created" if sweep.created else "resumed"
            tell(f"Study '{name}' {verb} in {sweep.storage}", logs=logs)
        try:
            with worker:
                if follower:
                    follower.start()
                with live(worker.progress, sweep.spec.metric.name, quiet=quiet or logs):
                    reason = worker.run()
        finally:
            interrupted = follower is not None and _interrupted(follower.close)
        return reason, worker.drained or interrupted


def _worker(
    sweep: OpenSweep,
    places: Sequence[Tended],
    changed: Callable[[], None],
    warn: Callable[[str], None],
    own: Mapping[str, Any],
) -> Worker | Crew:
    """Return what runs the sweep: this process, or those in `places`."""
    with importing():
        if places:
            from sweeps.crew import Crew
        else:
            from sweeps.worker import Worker
    if places:
        return Crew(sweep, places, changed, lease_seconds=own["lease_seconds"], warn=warn)
    use_one_thread()
    return Worker(sweep, changed, warn=warn, **own)


def _interrupted(close: Callable[..., object]) -> bool:
    """Make MLflow's last copy; return whether Ctrl-C cut it short."""
    from sweeps.cli.live import copying

    try:
        with copying() as say:
            close(on_progress=say)
    except KeyboardInterrupt:
        click.echo("MLflow lacks the last results; the next `sweeps run` copies them.", err=True)
        return True
    return False


def _summary(sweep: OpenSweep, reason: str, tracking: str, *, as_json: bool) -> None:
    from sweeps.cli.results import best_json, leaderboard_table
    from sweeps.summary import baseline_to_best, best_row, pasted

    name = sweep.study.study_name
    if as_json:
        render.echo_json({"ended": reason, **best_json(sweep.storage, name)})
        return
    click.echo(f"\nEnded: {reason}.\n")
    screen = render.console()
    screen.print(leaderboard_table(sweep.storage, name, top=10))
    gains = baseline_to_best(sweep.storage, name)
    if gains:
        columns = ["metric", "your baseline>", "best>"]
        screen.print(render.table(columns, gains, "Your baseline -> best"))
    row = best_row(sweep.storage, name)
    if row is None:
        click.echo("No trial is complete yet.\n")
    elif row.config is not None:
        click.echo(f"Best configuration (trial {row.number}):\n")
        click.echo(f"{pasted(sweep.storage, name, row)}\n")
    click.echo(_next(name, sweep, tracking))


def _next(name: str, sweep: OpenSweep, tracking: str) -> str:
    from studies import mask_passwords

    def url(option: str, value: str, default: str) -> str:
        return "" if value == default else f" {option} {shlex.quote(mask_passwords(value))}"

    study = shlex.quote(name)
    storage = url("--storage", str(sweep.storage), options.DEFAULT_STORAGE)
    lines = [
        f"  sweeps status {study}{storage}",
        f"  sweeps show {study} 0{storage}",
        f"  sweeps export {study} --format csv{storage}",
    ]
    if tracking != "none":
        lines.append(f"  sweeps ui{url('--tracking', tracking, options.DEFAULT_TRACKING)}")
    if find_spec("optuna_dashboard") is not None:
        lines.append(f"  optuna-dashboard {shlex.quote(str(sweep.storage))}")
    return "Next:\n" + "\n".join(lines)
