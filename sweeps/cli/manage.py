"""`sweeps enqueue | retry | delete`: what a study is to train once more, and its end."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from sweeps.cli import options, render
from sweeps.cli.options import study_argument
from sweeps.config import ScriptConfig

if TYPE_CHECKING:
    from studies.deleting import Extent
    from sweeps.config import AnyConfig


@click.command()
@study_argument
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--from-yaml",
    "file",
    type=click.Path(path_type=Path),
    help="A file with one configuration or a list of them, as `enqueue:` has.",
)
@options.storage
@options.json_output
def enqueue(
    study: str, values: tuple[str, ...], file: Path | None, storage: str, as_json: bool
) -> None:
    """Add a configuration that you know to STUDY, as the next trial to run.

    The names and values are those of `enqueue:` in a sweep file; what is not named is as published.

    \b
    Examples:
      sweeps enqueue digits optimizer=sgd lr=0.1 momentum=0.9
      sweeps enqueue digits --from-yaml tuned.yaml
    """
    from studies import open_storage
    from sweeps.enqueue import enqueue, from_arguments, from_yaml
    from sweeps.stored import held_up

    if bool(values) == bool(file):
        raise click.UsageError("give either KEY=VALUE... or --from-yaml FILE")
    given = from_arguments(values) if file is None else from_yaml(file)
    with open_storage(storage, create=False) as store:
        with redirect_stdout(sys.stderr):  # what the user's own task prints
            added = enqueue(store, study, given)
        waits = held_up(store, study)
    if as_json:
        trials = [{"number": number, "params": config.flat()} for number, config in added]
        render.echo_json({"study": study, "enqueued": trials, "held_up": waits})
        return
    for number, config in added:
        click.echo(f"Trial {number} waits: {_knobs(config)}")
    _say_next(study, added[0][0], waits)


def _knobs(config: AnyConfig) -> str:
    """Return what a waiting trial trains, in a line."""
    if isinstance(config, ScriptConfig):
        return config.title
    knobs = "  ".join(f"{k}={render.number(v)}" for k, v in config.hypers.items())
    return f"{config.title}  {knobs}"


@click.command()
@study_argument
@click.argument("trials", nargs=-1, type=click.IntRange(min=0), metavar="[TRIAL]...")
@click.option("--failed", is_flag=True, help="Every failed trial that is not retried yet.")
@options.storage
@options.json_output
def retry(study: str, trials: tuple[int, ...], failed: bool, storage: str, as_json: bool) -> None:
    """Train TRIALs of STUDY once more, each as a new trial with the same configuration.

    The old trial stays; `sweeps show` says of the new one which it retries. A trial that has ended
    well takes another place of the budget, a failed one does not.

    \b
    Examples:
      sweeps retry digits 17
      sweeps retry digits --failed
    """
    from studies import open_storage
    from sweeps.retry import failed_trials, retry
    from sweeps.stored import held_up

    if bool(trials) == failed:
        raise click.UsageError("give either TRIAL... or --failed")
    with open_storage(storage, create=False) as store:
        wanted = failed_trials(store, study) if failed else trials
        added = retry(store, study, wanted)
        waits = held_up(store, study)
    if as_json:
        pairs = [{"number": new, "retry_of": old} for old, new in added]
        render.echo_json({"study": study, "retried": pairs, "held_up": waits})
        return
    for old, new in added:
        click.echo(f"Trial {new} waits: a retry of trial {old}")
    if added:
        _say_next(study, added[0][1], waits)
    else:
        click.echo(f"Study '{study}' has no failed trial that is not retried yet.")


def _say_next(study: str, trial: int, waits: str | None) -> None:
    reason = f"It waits still: {waits}." if waits else "The live sweep takes it up next."
    click.echo(f"{reason} See it: sweeps show {quote(study)} {trial}")


@click.command()
@study_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.storage
@options.checkpoints_of("Where the study's checkpoints are")
@options.json_output
def delete(study: str, yes: bool, storage: str, checkpoints: Path | None, as_json: bool) -> None:
    """Delete STUDY with all its trials and checkpoints, after asking; there is no way back.

    Only whole studies: Optuna numbers trials by their count. MLflow's runs stay.

    \b
    Examples:
      sweeps export digits -o digits.json && sweeps delete digits
      sweeps delete digits --yes --json
    """
    from studies import mask_passwords, open_storage
    from studies.deleting import delete_study, extent
    from sweeps.keeping import default_folder, remove_study

    where = mask_passwords(storage)
    with open_storage(storage, create=False) as store:
        if not yes:
            _confirm(extent(store, study), where)
        gone = delete_study(store, study)
        folder = checkpoints or default_folder(store.url)
    removed = 0
    try:
        removed = remove_study(folder, gone.name, gone.study_id)
    except OSError as error:
        click.echo(f"Warning: checkpoints in {folder} stay: {error}", err=True)
    if as_json:
        kept = {"folder": str(folder), "removed": removed}
        found = {"deleted": study, "storage": where, "rows": gone.rows, "checkpoints": kept}
        render.echo_json(found)
    else:
        click.echo(
            f"Deleted study '{study}' with {gone.trials} trials from {where}, and {removed} of its "
            f"checkpoints from {folder}."
        )


def _confirm(found: Extent, where: str) -> None:
    from studies import UserError

    running = f", {found.running} of them RUNNING" if found.running else ""
    question = f"Delete study '{found.name}' with {found.trials} trials{running} from {where}?"
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        raise UserError(
            f"study '{found.name}' was not deleted: nobody answered. Give --yes to delete it "
            "without a question"
        ) from None
    if not agreed:
        click.echo("Nothing was deleted.", err=True)
        sys.exit(1)
