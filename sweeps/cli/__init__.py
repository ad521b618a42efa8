"""The command line. Each command is thin: it parses, calls one function, and prints.

Heavy imports (torch, MLflow, Optuna, SQLAlchemy) stand inside the commands, so that `sweeps --help`
answers at once; `tests/unit/cli` holds that.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from sweeps.cli.catalog import averages, optimizers, schedules, tasks
from sweeps.cli.control import cancel, pause, resume, stop
from sweeps.cli.errors import refusal, tell
from sweeps.cli.files import init, validate
from sweeps.cli.manage import delete, enqueue, retry
from sweeps.cli.plan import plan
from sweeps.cli.results import best, export, show
from sweeps.cli.run import run
from sweeps.cli.status import list_studies, status
from sweeps.cli.storage import storage
from sweeps.cli.ui import ui
from sweeps.cli.worker import worker


class _Group(click.Group):
    """The one place where Sweeplane's own errors, and a database's, are caught: message, no
    traceback, exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from studies.errors import SweeplaneError

        try:
            return super().invoke(ctx)
        except SweeplaneError as error:
            tell(str(error))
            sys.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if (said := refusal(error)) is None:
                raise
            tell(said)
            sys.exit(SweeplaneError.exit_code)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  sweeps init --task digits-mlp            write a commented sweep.yaml
  sweeps validate sweep.yaml               the search space, knob by knob
  sweeps plan sweep.yaml                   what it would take: lanes, time, cost
  sweeps run sweep.yaml                    create or resume the study, with a live table
  sweeps worker --study digits             one more process on it, from any terminal
  sweeps status digits                     how far it is, and who works on it
  sweeps pause digits                      the workers wait, until sweeps resume digits
  sweeps stop digits                       they leave, and sweeps run goes on from there
  sweeps best digits                       the best configuration, ready to paste
  sweeps ui                                MLflow's UI on this machine

\b
Shell completion: eval "$(_SWEEPS_COMPLETE=bash_source sweeps)"   (or zsh_source, fish_source)
Exit codes: 0 done, 1 it failed, 2 something to mend in what was given, 130 stopped before the end
(Ctrl-C, sweeps stop, sweeps cancel).""",
)
@click.version_option(package_name="sweeplane", prog_name="sweeps")
def main() -> None:
    """Find the optimizer, learning rate, betas, weight decay and schedule for your model."""


for _command in (
    init,
    validate,
    plan,
    run,
    worker,
    list_studies,
    status,
    show,
    best,
    export,
    pause,
    resume,
    stop,
    cancel,
    enqueue,
    retry,
    delete,
    storage,
    ui,
    optimizers,
    schedules,
    averages,
    tasks,
):
    main.add_command(_command)
