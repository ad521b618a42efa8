"""`sweeps storage upgrade | check | copy`: the study DB as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from sweeps.cli import options, render

if TYPE_CHECKING:
    from studies.checks import Report
    from studies.copying import Copy, Progress

UNSOUND_EXIT_CODE = 1


@click.group(
    epilog="""\b
Examples:
  sweeps storage upgrade                   after an update of Sweeplane or Optuna
  sweeps storage check                     is the study DB sound?
  sweeps storage copy sqlite:///sweeps.db postgresql+psycopg://me@host/sweeps""",
)
def storage() -> None:
    """Look after a study DB: upgrade its tables, check it, copy it to another database."""


@storage.command()
@options.storage
@click.option("--create", is_flag=True, help="Make the tables of an empty database too.")
@options.json_output
def upgrade(storage: str, create: bool, as_json: bool) -> None:
    """Bring Optuna's tables and Sweeplane's to this version; the same again does nothing.

    Every command upgrades Sweeplane's own tables by itself. This one upgrades Optuna's too, by
    Optuna's migrations, and says what it did. Copy the database first: there is no way back.

    \b
    Examples:
      sweeps storage upgrade
      sweeps storage upgrade --storage postgresql+psycopg://me@host/sweeps --json
      sweeps storage upgrade --create          before the first sweep, and after each update
    """
    from studies import mask_passwords
    from studies.versions import upgrade

    before, after = upgrade(storage, create=create)
    where = mask_passwords(storage)
    if as_json:
        found = {"from": asdict(before), "to": asdict(after), "changed": before != after}
        render.echo_json({"storage": where, **found})
        return
    rows = [
        ("Optuna", before.optuna, after.optuna),
        ("Sweeplane", before.sweeplane, after.sweeplane),
    ]
    render.console().print(render.table(["schema", "from", "to"], rows, where))
    for name in before.missing_triggers:
        click.echo(f"Made the trigger {name} again.")
    click.echo("Upgraded." if before != after else "It was up to date.")


@storage.command()
@options.storage
@options.json_output
def check(storage: str, as_json: bool) -> None:
    """Check that a study DB is sound; changes nothing.

    Looked at are the schema, the file (SQLite), rows without their study or trial, triggers
    (SQLite), trial numbers, values, RUNNING trials that nobody runs, and sequences (PostgreSQL).
    Exit code 1 means a fault; a note is put right by the next command and is none.

    \b
    Examples:
      sweeps storage check
      sweeps storage check --storage postgresql+psycopg://me@host/sweeps --json
    """
    from studies.checks import check

    report = check(storage)
    if as_json:
        render.echo_json({"sound": report.sound, **asdict(report)})
    else:
        _print_report(report)
    if not report.sound:
        sys.exit(UNSOUND_EXIT_CODE)


def _print_report(report: Report) -> None:
    rows = [
        (
            one.name,
            ", ".join(sorted({finding.level for finding in one.findings})) or "ok",
            len(one.findings) or "",
        )
        for one in report.checks
    ]
    screen = render.console()
    screen.print(render.table(["check", "result", "findings>"], rows, report.storage))
    for one in report.checks:
        for finding in one.findings:
            click.echo(f"{finding.level}: {finding.what}\n  -> {finding.advice}")
    click.echo("The study DB is sound." if report.sound else "The study DB is not sound.")


@storage.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--force", is_flag=True, help="Copy while a sweep of FROM is being run too.")
@options.json_output
def copy(source: str, target: str, force: bool, as_json: bool) -> None:
    """Copy the study DB FROM into the empty database TO, every id kept, and verify it.

    Each table has the same number of rows and the same checksum on both sides before the copy is
    there; after a failure TO is as it was. With --force the copy is FROM at one moment, with the
    trials that ran then RUNNING; FROM is never changed. Checkpoints stay where they are: to go on
    from them in TO, give that folder with --checkpoints.

    \b
    Examples:
      sweeps storage copy sqlite:///sweeps.db postgresql+psycopg://me@host/sweeps
      sweeps storage copy postgresql+psycopg://me@host/sweeps sqlite:///laptop.db
      sweeps storage copy sqlite:///sweeps.db sqlite:///backup.db --force --json
    """
    from studies.copying import copy_storage

    with _progress() as progress:
        done = copy_storage(source, target, force=force, progress=progress)
    if as_json:
        tables = [{**asdict(table), "equal": table.equal} for table in done.tables]
        render.echo_json({**asdict(done), "tables": tables})
    else:
        _print_copy(done)


def _print_copy(done: Copy) -> None:
    rows = [
        (table.name, f"{table.source_rows:,}", f"{table.target_rows:,}", table.target_checksum)
        for table in done.tables
    ]
    title = f"{done.source} -> {done.target}"
    columns = ["table", "rows>", "copied>", "checksum, the same on both sides"]
    render.console().print(render.table(columns, rows, title))
    if done.not_copied:
        click.echo(f"Not copied, since not of a study DB: {', '.join(done.not_copied)}.")
    for study in done.running:
        click.echo(f"Study '{study}' was being run; the copy is what it was at that moment.")
    total = sum(table.target_rows for table in done.tables)
    click.echo(f"Copied and verified {total:,} rows. Next: --storage {done.target}")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show how far the copy is, on standard error; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks = {phase: bars.add_task(phase, total=None) for phase in ("copy", "verify")}

        def show(phase: str, table: str, done: int, total: int) -> None:
            words = f"{phase} {table}"
            bars.update(tasks[phase], description=words, completed=done, total=total)

        yield show
