"""Which MLflow store a tracking URI means, and the sweep's experiment in it."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from studies import UserError, mask_passwords

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https")

# Read by MLflow when it is imported or used; what the user has set stands. A request is not
# repeated by MLflow (a repeated "create run" makes two): the next pass does it. The time limit
# is a tenth of MLflow's, so that a server which accepts and never answers is noticed.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def check_uri(tracking_uri: str) -> None:
    """Refuse what MLflow could not open, without importing it.

    Raises:
        UserError: it is neither a database nor a server; the message holds no password.
    """
    scheme, separator, rest = tracking_uri.partition("://")
    known = scheme.partition("+")[0] in _DATABASES or scheme in _SERVERS
    if known and separator and rest.strip("/"):
        return
    raise UserError(
        f"tracking URI '{mask_passwords(tracking_uri)}' is not one that MLflow can follow a "
        "sweep in. Write sqlite:///mlflow.db, postgresql://user:password@host/database, "
        "http://host:5000 or none."
    )


def is_server(tracking_uri: str) -> bool:
    """Whether the URI names a running MLflow server rather than a database."""
    return tracking_uri.partition("://")[0] in _SERVERS


def absolute(tracking_uri: str) -> str:
    """Return the URI with a SQLite file's absolute path, so that it means the same anywhere."""
    path = _sqlite_path(tracking_uri)
    return tracking_uri if path is None else f"sqlite:///{path}"


def masked(text: str, tracking_uri: str) -> str:
    """Return the text without the URI's password."""
    password = urlsplit(tracking_uri).password
    return mask_passwords(text.replace(password, "***") if password else text)


def artifact_folder(tracking_uri: str) -> Path | None:
    """Return where artifacts go: `mlartifacts` beside a SQLite file, else in the working folder.

    None for a server, which decides for itself.
    """
    if is_server(tracking_uri):
        return None
    path = _sqlite_path(tracking_uri)
    return (Path.cwd() if path is None else path.parent) / "mlartifacts"


def _sqlite_path(tracking_uri: str) -> Path | None:
    scheme, _, rest = tracking_uri.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(rest.removeprefix("/").partition("?")[0]).absolute()


def quiet_environment() -> None:
    """Set MLflow's environment variables that are not set: no telemetry, no chatter."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def open_client(tracking_uri: str) -> MlflowClient:
    """Open a client; a SQLite file that is missing is created with MLflow's tables (2 s).

    Raises:
        mlflow.exceptions.MlflowException: the database cannot be opened.
    """
    load_mlflow()
    from mlflow import MlflowClient

    with _without_collecting():
        return MlflowClient(tracking_uri=absolute(tracking_uri))


def load_mlflow() -> None:
    """Import MLflow, which then prints nothing (1 s)."""
    quiet_environment()
    # MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 deprecates, once, when it is imported.
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")
    with _without_collecting():
        importlib.import_module("mlflow")

    # Where MLflow was imported before, its variable comes too late.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Leave garbage be: MLflow's modules are no garbage, and looking at them takes 0.6 of 1.7 s."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def find_experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    """Return the id of the experiment; create it, or restore it when somebody deleted it."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # The tag picks the UI's pages for training runs; without it MLflow asks which it is.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        location = None if artifacts is None else str(artifacts)
        try:
            return str(client.create_experiment(name, location, tags))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
