"""`sweeps list | status | show | best | export`: reading the study DB."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, render

if TYPE_CHECKING:
    from rich.table import Table

    from studies import StudyStorage
    from studies.queries import StudyStatus
    from studies.rows import TrialRow

study_argument = click.argument("study")


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
    from studies import open_storage, queries

    with open_storage(storage, create=False) as store:
        found = queries.studies(store)
    if as_json:
        render.echo_json([_plain(asdict(study)) for study in found])
        return
    names = "study status trials> complete> pruned> failed> best>"
    columns = [*names.split(), "last (UTC)"]
    rows = [
        (
            s.name,
            s.status,
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
    """Show how far STUDY is: counts, best so far, and its leaderboard.

    \b
    Examples:
      sweeps status digits
      sweeps status digits --top 3 --json
    """
    from studies import open_storage, queries

    with open_storage(storage, create=False) as store:
        now = queries.status(store, study)
        if as_json:
            rows = queries.leaderboard(store, study, top=top)
            render.echo_json({**_plain(asdict(now)), "leaderboard": [row_json(r) for r in rows]})
            return
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(now.outcomes.items()))
        click.echo(
            f"{now.name}: {now.status or 'a plain Optuna study'}, {_workers(now)}\n"
            f"{now.trials} trials: {counts or 'none ended'}, {now.running} running, "
            f"{now.waiting} waiting; {render.duration(now.seconds)} of training"
        )
        if now.best is not None:
            click.echo(f"best {now.metric}: {render.number(now.best[1])} (trial {now.best[0]})")
        render.console().print(leaderboard_table(store, study, top))


def _workers(now: StudyStatus) -> str:
    if not now.workers:
        gone = now.status == "running"
        return (
            "run by a process which is gone; `sweeps run` takes over" if gone else "nobody runs it"
        )
    named = [f"process {w.process.pid} on {w.process.host}" for w in now.workers]
    return f"run by {', '.join(named)}"


@click.command()
@study_argument
@click.argument("trial", type=click.IntRange(min=0))
@options.storage
@options.json_output
def show(study: str, trial: int, storage: str, as_json: bool) -> None:
    """Show TRIAL of STUDY: its configuration, how it ended, its curves.

    \b
    Examples:
      sweeps show digits 17
      sweeps show digits 17 --json
    """
    from studies import open_storage, queries

    with open_storage(storage, create=False) as store:
        found = queries.trial(store, study, trial)
    if as_json:
        retry = {"retry_of": found.user_attrs.get("retry_of")}
        render.echo_json({**row_json(found.row), **retry, "curves": dict(found.curves)})
        return
    row = found.row
    click.echo(
        f"{study}, trial {row.number}: {row.outcome}" + (f", {row.reason}" if row.reason else "")
    )
    if "retry_of" in found.user_attrs:
        click.echo(f"a retry of trial {found.user_attrs['retry_of']}")
    click.echo(
        f"{row.origin or 'sampled elsewhere'}; {row.epochs or 0} epochs in "
        f"{render.duration(row.seconds)}; value {render.number(row.value)}"
    )
    if recorded := render.recorded(row):
        click.echo(recorded)
    screen = render.console()
    screen.print(render.table(["knob", "value>"], row_params(row).items()))
    curves = [
        (name, render.sparkline([value for _, value in curve]), curve[0][1], curve[-1][1])
        for name, curve in sorted(found.curves.items())
    ]
    screen.print(render.table(["curve", "", "first>", "last>"], curves))
    if "traceback" in found.user_attrs:
        click.echo(found.user_attrs["traceback"])


@click.command()
@study_argument
@options.storage
@options.json_output
def best(study: str, storage: str, as_json: bool) -> None:
    """Print the best configuration of STUDY, ready to paste.

    \b
    Examples:
      sweeps best digits
      sweeps best digits --json
    """
    from studies import UserError, open_storage
    from sweeps.config import Config
    from sweeps.summary import best_row, objective, paste

    with open_storage(storage, create=False) as store:
        judged, row = objective(store, study), best_row(store, study)
        if row is None:
            raise UserError(
                f"study '{study}' has no complete trial yet. See `sweeps status {study}`"
            )
        if as_json:
            render.echo_json(best_json(store, study))
            return
    click.echo(f"{study}, trial {row.number}: {render.number(row.value, 6)}\n")
    if row.config is None:
        render.console().print(render.table(["parameter", "value>"], row.params.items()))
    else:
        click.echo(paste(Config.from_json(row.config), judged))


@click.command()
@study_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet"]),
    default="json",
    show_default=True,
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; default: standard output (parquet needs a file).",
)
@options.storage
def export(study: str, form: str, output: Path | None, storage: str) -> None:
    """Export every trial of STUDY: parameters, outcome, value, and (json, parquet) its curves.

    \b
    Examples:
      sweeps export digits --format csv -o digits.csv
      sweeps export digits | python -m json.tool | less
      sweeps export digits --format parquet -o digits.parquet
    """
    from studies import open_storage
    from sweeps.export import write

    if form == "parquet" and output is None:
        raise click.UsageError("parquet is not text: give a file with --output")
    with open_storage(storage, create=False) as store:
        write(store, study, form, output)
    if output is not None:
        click.echo(f"Wrote {output}", err=True)


def leaderboard_table(storage: StudyStorage, study: str, top: int) -> Table:
    """Return the first `top` trials as a table, best first; knobs that never vary are left out.

    So are the test metrics of raw weights beside those of averaged ones; `show` has them.
    """
    from studies import queries

    rows = queries.leaderboard(storage, study, top=top)
    metric = queries.status(storage, study).metric
    tests = sorted(t for t in {name for row in rows for name in row.test} if not t.endswith("_raw"))
    params = [row_params(row) for row in rows]
    names = dict.fromkeys(name for each in params for name in each)
    varying = [n for n in names if len({repr(each.get(n)) for each in params}) > 1]
    shown = {*names} - ({"average"} - {*varying})
    heads = [name for name in ("optimizer", "schedule", "average") if name in shown]
    cells = [
        (
            f"{row.number}{'*' if row.origin == 'baseline' else ''}",
            row.outcome,
            row.value,
            *(row.test.get(name) for name in tests),
            *(each.get(name) for name in heads),
            "  ".join(
                f"{name}={render.number(each[name])}"
                for name in varying
                if name in each and name not in heads
            ),
        )
        for row, each in zip(rows, params, strict=True)
    ]
    columns = ["trial>", "outcome", f"{metric}>", *(f"{test}>" for test in tests), *heads, "knobs"]
    note = "   (* your baseline)" if any(row.origin == "baseline" for row in rows) else ""
    return render.table(columns, cells, f"Leaderboard, best first{note}")


def row_params(row: TrialRow) -> dict[str, Any]:
    """Return the effective configuration by name, or the sampled values of a plain Optuna study."""
    from sweeps.config import Config

    return dict(row.params) if row.config is None else dict(Config.from_json(row.config).flat())


def row_json(row: TrialRow) -> dict[str, Any]:
    """Return one trial as JSON-able data, without its curves."""
    names = "number outcome origin value epochs seconds device_seconds peak_memory reason"
    names += " diverged_step last_value last_epoch"
    plain = {name: getattr(row, name) for name in names.split()}
    return {**plain, "params": row_params(row), "test": dict(row.test)}


def best_json(storage: StudyStorage, study: str) -> dict[str, Any]:
    """Return the best trial (None while none is complete), the baseline's, and code and YAML."""
    from sweeps.config import Config
    from sweeps.summary import baseline_row, best_row, objective, python_code, yaml_text

    row, baseline = best_row(storage, study), baseline_row(storage, study)
    found: dict[str, Any] = {
        "study": study,
        "best": None if row is None else row_json(row),
        "baseline": None if baseline is None else row_json(baseline),
    }
    if row is not None and row.config is not None:
        config = Config.from_json(row.config)
        code = python_code(config, objective(storage, study))
        found |= {"python": code, "yaml": yaml_text(config)}
    return found


def _plain(value: Any) -> Any:
    """Return nested data with every time as ISO 8601 text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() + "Z" if hasattr(value, "isoformat") else value


def _moment(when: Any) -> str:
    return "-" if when is None else when.strftime("%Y-%m-%d %H:%M")
