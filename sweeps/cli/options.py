"""Options that many commands share."""

from __future__ import annotations

import click

DEFAULT_STORAGE = "sqlite:///sweeps.db"
DEFAULT_TRACKING = "sqlite:///mlflow.db"

study_argument = click.argument("study")
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
lease_seconds = click.option(
    "--lease-seconds",
    type=click.FloatRange(min=0.3),
    default=15.0,
    show_default=True,
    help="How long a worker may be silent before another takes over its trials.",
)


class AutoOrCount(click.ParamType[int | str]):
    """`auto`, or a whole number of 1 or more."""

    name = "count"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return the number, or "auto"."""
        text = str(value)
        count = int(text) if text.isdecimal() else 0
        if text != "auto" and count < 1:
            self.fail(f"{text!r} is neither auto nor a whole number of 1 or more", param, ctx)
        return count or text
