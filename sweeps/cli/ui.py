"""`sweeps ui`: MLflow's own UI over the sweep's results."""

from __future__ import annotations

import click

from sweeps.cli.options import DEFAULT_TRACKING


@click.command()
@click.option(
    "--tracking",
    metavar="URI",
    envvar="MLFLOW_TRACKING_URI",
    default=DEFAULT_TRACKING,
    show_default=True,
    show_envvar=True,
    help="MLflow's tracking store.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="Port to listen on; if it is taken, a free one.",
)
@click.option("--open/--no-open", "open_browser", default=False, help="Open a browser on it.")
def ui(tracking: str, host: str, port: int, open_browser: bool) -> None:
    """Serve MLflow's UI on this machine until Ctrl-C, and print its address.

    \b
    Examples:
      sweeps ui
      sweeps ui --port 8080 --open
    """
    from sweeps.mlflow_ui import serve

    serve(tracking, host=host, port=port, open_browser=open_browser)
