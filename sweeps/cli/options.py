"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from studies.timing import GRACE_SECONDS, LEASE_SECONDS
from sweeps.durations import seconds_of
from sweeps.keeping import Every, Keeping

_Command = TypeVar("_Command", bound=Callable[..., Any])

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


class Time(click.ParamType[float]):
    """A time with its unit, in seconds."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        seconds = value if isinstance(value, float) else seconds_of(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not a time with its unit: 8s, 5m, 1h30m", param, ctx)
        return seconds


lease_seconds = click.option(
    "--lease-seconds",
    type=click.FloatRange(min=0.3),
    default=LEASE_SECONDS,
    show_default=True,
    help="How long a worker may be silent before another takes over its trials.",
)


grace = click.option(
    "--grace",
    metavar="TIME",
    type=Time(),
    default=f"{GRACE_SECONDS:g}s",
    show_default=True,
    help="After Ctrl-C or SIGTERM: an epoch that has not ended by half of it is cut, and its trial "
    "handed back as it was before; the process ends within it.",
)


log = click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: JSON lines on standard error, with study, trial and worker in each.",
)


def on_a_cluster(command: _Command) -> _Command:
    """Add the options of `--on ray`."""
    on = click.option("--on", type=click.Choice(["ray"]), help="Workers all over a Ray cluster.")
    address = click.option(
        "--address",
        help="The Ray cluster: auto, HOST:PORT; default: RAY_ADDRESS, else a local one.",
    )
    gpus = click.option(
        "--gpus-per-worker",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="With --on ray: the GPUs of each worker; 0: it trains on a CPU.",
    )
    return on(address(gpus(command)))


def terms(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a worker works, whatever the sweep is, from its command's options."""
    return {
        "lease_seconds": given["lease_seconds"],
        "keeping": Keeping(given["checkpoints"], given["checkpoint_every"]),
        "grace": given["grace"],
    }


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


class HowOften(click.ParamType[Every | None]):
    """A time with its unit, a number of epochs, or `none`."""

    name = "often"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Every | None:
        """Return when a checkpoint is due; None: never."""
        if value is None or isinstance(value, Every):
            return value
        text = str(value)
        if text == "none":
            return None
        if text.isdecimal() and int(text) >= 1:
            return Every(epochs=int(text))
        seconds = seconds_of(text)
        if seconds is None:
            self.fail(
                f"{text!r} is none of: a time with its unit (30s, 5m), a whole number of epochs of "
                "1 or more, none",
                param,
                ctx,
            )
        return Every(seconds=seconds)


def checkpoints_of(what: str) -> Callable[[_Command], _Command]:
    """Return the option `--checkpoints`, with what the folder is."""
    return click.option(
        "--checkpoints",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="SWEEPS_CHECKPOINTS",
        show_envvar=True,
        help=f"{what}; default: beside a SQLite file, else ./sweeps-checkpoints.",
    )


checkpoints = checkpoints_of("Checkpoints, for all workers")
checkpoint_every = click.option(
    "--checkpoint-every",
    metavar="WHEN",
    type=HowOften(),
    default="30s",
    show_default=True,
    help="30s of a trial's training, 5 (epochs), or none.",
)
