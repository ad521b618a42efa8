"""How changes get into a store.

ClientWriter    run by run through MLflow's client: any store
SqliteWriter    many runs in one transaction: a SQLite file of ours (sqlite_writer.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import make_url

from sweeps.scripts.output import OUTPUTS
from sweeps.tracking import store
from sweeps.tracking.sqlite_writer import SqliteWriter

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from sweeps.tracking.changes import Change
    from sweeps.tracking.runs import Point


def open_writer(client: MlflowClient, tracking_uri: str, experiment: str) -> Writer:
    """Return the fastest writer that the store allows."""
    if tracking_uri.startswith("sqlite"):
        # As MLflow's engine reads it: with a space for %20.
        path = Path(str(make_url(store.absolute(tracking_uri)).database))
        artifacts = client.get_experiment(experiment).artifact_location
        writer = SqliteWriter(path, experiment, artifacts)
        if writer.fits():
            return writer
    return ClientWriter(client, experiment)


class Writer(Protocol):
    """Writes changes; each may be written again."""

    batch: int  # changes that one `write` should have

    def write(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Yield each change when it is in the store, with the id of its run.

        Raises:
            mlflow.exceptions.MlflowException, OSError: the store cannot be reached or refuses.
        """


class ClientWriter:
    """Three calls for a run that has ended before it was first copied: create, log, end."""

    batch = 20  # a second: what is written and not noted yet is looked for after a kill

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self._client, self._experiment = client, experiment

    def write(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Yield each change when it is in the store, with the id of its run."""
        for change in changes:
            made = self._made(change)
            log(self._client, made.run_id, made.points, made.params, made.tags)
            if made.end is not None:
                self._client.set_terminated(made.run_id, made.status, made.end)
            elif made.status is not None:
                self._client.update_run(made.run_id, made.status)
            yield made

    def _made(self, change: Change) -> Change:
        if change.run_id:
            return change
        made = self._client.create_run(
            self._experiment, change.start, dict(change.tags), change.name
        )
        return replace(change, run_id=str(made.info.run_id), tags={})


def keep_output(client: MlflowClient, change: Change) -> None:
    """Keep what a script has written, where it is on this machine, as artifacts of its run."""
    for name in OUTPUTS if change.folder is not None else ():
        path = Path(change.folder or "") / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            client.log_artifact(change.run_id, str(path))


def log(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Write in as few calls as MLflow's limits allow (1,000 metrics, 100 params and tags)."""
    from mlflow.entities import Metric, Param, RunTag

    client.log_batch(
        run_id,
        [Metric(p.key, p.value, p.timestamp, p.step) for p in points],
        [Param(name, value) for name, value in params.items()],
        [RunTag(name, value) for name, value in tags.items()],
        synchronous=True,
    )
