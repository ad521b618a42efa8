"""Options that many commands share."""

from __future__ import annotations

import click

DEFAULT_STORAGE = "sqlite:///sweeps.db"
DEFAULT_TRACKING = "sqlite:///mlflow.db"

storage = click.option(
    "--storage",
    metavar="URL",
    envvar="SWEEPS_STORAGE",
    default=DEFAULT_STORAGE,
    show_default=True,
    show_envvar=True,
    help="The study DB.",
)
json_output = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for a program to read."
)
top = click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="Rows to show."
)
