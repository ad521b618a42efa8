"""The live table of `sweeps run`: what trains, how far it is, the best so far, when it ends."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sweeps.background import repeating
from sweeps.cli import pace
from sweeps.cli.render import duration, number, table
from sweeps.logs import log

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from sweeps.progress import Progress

LINE_EVERY_SECONDS = 10.0
LOOK_EVERY_SECONDS = 0.2


@contextmanager
def live(progress: Progress, metric: str, *, quiet: bool) -> Iterator[None]:
    """Show `progress` while the body runs: a live table in a terminal, else a line now and then."""
    from sweeps.cli.render import console

    screen = console()
    if quiet:
        yield
    elif screen.is_terminal:
        from rich.live import Live

        with Live(
            get_renderable=lambda: _picture(progress, metric), console=screen, refresh_per_second=4
        ):
            yield
    else:
        with _lines(progress, metric):
            yield


@contextmanager
def warnings_after(*, logs: bool = False) -> Iterator[Callable[[str], None]]:
    """Print what the body warns of after it, since it would disturb the live table.

    `logs`: it is logged at once instead.
    """
    warnings: list[str] = []
    try:
        yield log.warning if logs else warnings.append
    finally:
        for warning in warnings:
            click.echo(f"Warning: {warning}", err=True)


@contextmanager
def copying() -> Iterator[Callable[[int, int], None]]:
    """Give the body what says how far MLflow's copy is, on standard error.

    In a terminal that is one line that changes, else a line now and then.
    """
    in_terminal, next_line, said = sys.stderr.isatty(), 0.0, False

    def say(done: int, total: int) -> None:
        nonlocal next_line, said
        text = f"Copying to MLflow: {done} of {total}"
        if in_terminal:
            click.echo(f"\r{text}", err=True, nl=False)
            said = True
        elif time.monotonic() >= next_line:
            next_line = time.monotonic() + LINE_EVERY_SECONDS
            click.echo(text, err=True)

    try:
        yield say
    finally:
        if said:
            click.echo(err=True)


@contextmanager
def _lines(progress: Progress, metric: str) -> Iterator[None]:
    said, next_line = "", time.monotonic() + LINE_EVERY_SECONDS

    def speak() -> bool:
        nonlocal said, next_line
        if progress.note != said:
            said = progress.note
            click.echo(said)
        if time.monotonic() >= next_line:
            next_line += LINE_EVERY_SECONDS
            click.echo(headline(progress, metric))
            if (paces := pace.line(progress.read_numbers())) is not None:
                click.echo(paces)
        return True

    with repeating(speak, LOOK_EVERY_SECONDS, "progress"):
        yield
    click.echo(headline(progress, metric))


def headline(progress: Progress, metric: str) -> str:
    """Return one line: done, counts, pace, ETA, best."""
    total = "" if math.isinf(progress.total) else f"/{progress.total:.0f}"
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(progress.outcomes.items()))
    best = "-"
    if progress.best is not None:
        best = f"{number(progress.best[1])} (trial {progress.best[0]})"
    return (
        f"{progress.done}{total} trials ({counts or 'none ended yet'}), "
        f"{progress.trials_per_second:.2f} trials/s, ETA {duration(progress.eta_seconds)}, "
        f"best {metric} {best}"
    )


def _picture(progress: Progress, metric: str) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    running = sorted(progress.running.copy().items())
    rows: list[tuple[object, ...]] = [(n, run.label, run.reached, run.value) for n, run in running]
    columns = ["trial>", "training", "epoch>", f"{metric}>"]
    if any(run.worker for _, run in running):
        columns.append("worker")
        rows = [(*row, run.worker) for row, (_, run) in zip(rows, running, strict=True)]
    parts: list[RenderableType] = [Text(headline(progress, metric)), table(columns, rows)]
    if math.isfinite(progress.total):
        parts.insert(1, ProgressBar(total=progress.total, completed=progress.done, width=60))
    parts += pace.picture(progress.read_numbers())
    if progress.note:
        parts.append(Text(progress.note))
    elapsed = duration(time.monotonic() - progress.started)
    parts.append(Text(f"{elapsed}. Ctrl-C ends the epoch and hands the trial back.", style="dim"))
    return Group(*parts)
