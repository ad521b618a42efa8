"""`sweeps show | best | export`: the results in the study DB."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli import options, render
from sweeps.cli.options import study_argument
from sweeps.cli.settled import open_settled
from sweeps.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from studies import Attempt, StudyStorage
    from studies.rows import TrialRow


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
    from studies import attempts, queries

    with open_settled(storage) as store:
        found = queries.trial(store, study, trial)
        trained = attempts(store, study, trial).get(trial, [])
    if as_json:
        code = [render.plain(asdict(attempt)) for attempt in trained]
        more = {name: found.user_attrs.get(name) for name in ("seed", "traceback", "folder")}
        curves = dict(found.curves)
        render.echo_json({**row_json(found.row), **more, "attempts": code, "curves": curves})
        return
    row = found.row
    _print_outcome(study, row)
    for attempt in trained:
        click.echo(f"trained by {_trained_by(attempt)}")
    if folder := found.user_attrs.get("folder"):
        click.echo(printable(f"stdout.log and stderr.log are in {folder}"))
    if recorded := render.recorded(row):
        click.echo(recorded)
    screen = render.console()
    screen.print(render.table(["knob", "value>"], row_params(row).items()))
    lines = [
        (name, render.sparkline([value for _, value in curve]), curve[0][1], curve[-1][1])
        for name, curve in sorted(found.curves.items())
    ]
    screen.print(render.table(["curve", "", "first>", "last>"], lines))
    for line in found.user_attrs.get("traceback", "").splitlines():
        click.echo(printable(line.expandtabs()))


def _print_outcome(study: str, row: TrialRow) -> None:
    ended = filter(None, (f"{study}, trial {row.number}: {row.outcome}", row.reason))
    click.echo(printable(", ".join(ended)))
    if row.retry_of is not None:
        click.echo(f"a retry of trial {row.retry_of}")
    reported = "reports" if "params" in (row.config or {}) else "epochs"
    click.echo(
        f"{row.origin or 'sampled elsewhere'}; {row.epochs or 0} {reported} in "
        f"{render.duration(row.seconds)}; value {render.number(row.value)}"
    )


def _trained_by(attempt: Attempt) -> str:
    """Return who took a trial, with what code and packages."""
    facts = attempt.environment or {}
    packages = facts.get("packages", {})
    changed = " with changes" if attempt.git_dirty else ""
    code = f"commit {attempt.git_commit[:12]}{changed}" if attempt.git_commit else "no git commit"
    versions = [f"{name} {packages[name]}" for name in ("sweeplane", "torch") if name in packages]
    where = [attempt.device, *([facts["device_name"]] if "device_name" in facts else [])]
    since = f"{attempt.claimed_at:%Y-%m-%d %H:%M:%S} UTC"
    who = f"{attempt.host}:{attempt.pid} on {' '.join(where)}"
    return f"{who} from {since}; {code}; {', '.join(versions)}"


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
    from studies import UserError
    from sweeps.summary import best_row, pasted

    with open_settled(storage) as store:
        row = best_row(store, study)
        if row is None:
            raise UserError(
                f"study '{study}' has no complete trial yet. See `sweeps status {quote(study)}`"
            )
        if as_json:
            render.echo_json(best_json(store, study))
            return
        code = None if row.config is None else pasted(store, study, row)
    click.echo(f"{study}, trial {row.number}: {render.number(row.value, 6)}\n")
    if code is None:
        render.console().print(render.table(["parameter", "value>"], row.params.items()))
    else:
        click.echo(code)


@click.command()
@study_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet"]),
    default="json",
    show_default=True,
    help="What to write.",
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
    from sweeps.export import write

    if form == "parquet" and output is None:
        raise click.UsageError("parquet is not text: give a file with --output")
    with open_settled(storage) as store:
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
    retried = any(row.retry_of is not None for row in rows)
    cells = [
        (
            f"{row.number}{'*' if row.origin == 'baseline' else ''}",
            *([row.retry_of] if retried else []),
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
    links = ["retry of>"] if retried else []
    measured = [f"{name}>" for name in (metric, *tests)]
    columns = ["trial>", *links, "outcome", *measured, *heads, "knobs"]
    note = "   (* your baseline)" if any(row.origin == "baseline" for row in rows) else ""
    return render.table(columns, cells, f"Leaderboard, best first{note}")


def row_params(row: TrialRow) -> dict[str, Any]:
    """Return the effective configuration by name, or the sampled values of a plain Optuna study."""
    from sweeps.config import read_config

    return dict(row.params) if row.config is None else dict(read_config(row.config).flat())


def row_json(row: TrialRow) -> dict[str, Any]:
    """Return one trial as JSON-able data, without its curves."""
    names = "number outcome origin value epochs seconds device_seconds peak_memory reason"
    names += " diverged_step last_value last_epoch retry_of"
    plain = {name: getattr(row, name) for name in names.split()}
    return {**plain, "params": row_params(row), "test": dict(row.test)}


def best_json(storage: StudyStorage, study: str) -> dict[str, Any]:
    """Return the best trial (None while none is complete), the baseline's, and code and YAML."""
    from sweeps.summary import baseline_row, best_row, pasted_json

    row, baseline = best_row(storage, study), baseline_row(storage, study)
    found: dict[str, Any] = {
        "study": study,
        "best": None if row is None else row_json(row),
        "baseline": None if baseline is None else row_json(baseline),
    }
    if row is not None and row.config is not None:
        found |= pasted_json(storage, study, row)
    return found
