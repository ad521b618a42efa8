"""open_storage on databases that are fresh, shared, foreign, newer, broken or not there."""

from __future__ import annotations

import contextlib
import logging
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from studies import StudyStorage, UserError, create_sweep, open_storage, queries, schema, setup
from studies.migrations import HEAD, VERSION_TABLE
from studies.sweep import SweepRecord

OPEN_AND_WRITE = """
import sys
from studies import open_storage
print("ready", flush=True)
sys.stdin.readline()
with open_storage(sys.argv[1]) as storage:
    study_id = storage.create_new_study(directions=[], study_name=sys.argv[2])
"""
WARM_OPEN = """
import sys, time
import studies.storage
began = time.perf_counter()
studies.storage.open_storage(sys.argv[1]).close()
assert time.perf_counter() - began < 0.3, "opening took too long"
assert "alembic" not in sys.modules
"""


def _tables(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_four_processes_open_a_fresh_database_at_once(database_url: str) -> None:
    command = [sys.executable, "-W", "error", "-c", OPEN_AND_WRITE, database_url]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    openers = [subprocess.Popen([*command, f"s{i}"], text=True, **pipes) for i in range(4)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    ends = [opener.communicate(timeout=60) for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 4, [end[1] for end in ends]
    assert [end[1] for end in ends] == [""] * 4
    with open_storage(database_url) as storage, storage.engine.connect() as connection:
        versions = connection.execute(text(f"SELECT * FROM {VERSION_TABLE}")).all()
        assert versions == [(HEAD,)]
        assert len(connection.execute(text("SELECT * FROM alembic_version")).all()) == 1
        assert len(connection.execute(text("SELECT * FROM studies")).all()) == 4


def test_an_up_to_date_database_opens_without_alembic(database_url: str) -> None:
    open_storage(database_url).close()
    subprocess.run([sys.executable, "-c", WARM_OPEN, database_url], check=True)


def test_a_plain_optuna_database_gets_our_tables(database_url: str) -> None:
    plain = optuna.storages.RDBStorage(database_url)
    optuna.create_study(storage=plain, study_name="theirs")
    plain.remove_session()
    plain.engine.dispose()
    with open_storage(database_url, create=False) as storage:
        assert [study.name for study in queries.studies(storage)] == ["theirs"]
    assert {"sweeps", "points", "exports", VERSION_TABLE, "alembic_version"} <= _tables(
        database_url
    )


def test_without_create_an_empty_database_stays_empty(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        Path(make_url(database_url).database or "").touch()
    with pytest.raises(UserError, match="holds no studies"):
        open_storage(database_url, create=False)
    assert _tables(database_url) == set()


def test_a_newer_schema_is_refused(database_url: str) -> None:
    with open_storage(database_url) as storage, storage.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
    with pytest.raises(UserError, match=r"newer Sweeplane: its schema is 0999.*pip install"):
        open_storage(database_url)


def test_an_older_or_newer_schema_of_optuna_is_refused(database_url: str) -> None:
    with open_storage(database_url) as storage, storage.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v3.0.0.a'"))
    with pytest.raises(UserError, match="optuna storage upgrade"):
        open_storage(database_url)


def test_triggers_that_a_migration_of_optuna_dropped_come_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    with open_storage(url) as storage, storage.engine.begin() as connection:
        for name in schema.TRIGGERS:
            connection.execute(text(f"DROP TRIGGER {name}"))
    with open_storage(url) as storage, storage.engine.connect() as connection:
        found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
        assert set(found.scalars()) == set(schema.TRIGGERS)


def test_every_sqlite_connection_is_set_up(tmp_path: Path) -> None:
    with open_storage(f"sqlite:///{tmp_path / 'a{b}%20c.db'}") as storage:
        storage.create_new_study(directions=[])
        assert storage._optuna is not None
        for engine in (storage.engine, storage._optuna._rdb.engine):
            with engine.connect() as connection:
                names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
            assert found == ["wal", 1, 1, 30_000]
    assert [path.name for path in tmp_path.iterdir()] == ["a{b} c.db"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "the folder .* does not exist"),
        (lambda path: path.mkdir(parents=True), "is a folder"),
        (lambda path: (path.parent.mkdir(), path.write_text("x" * 5000)), "not a database"),
        (lambda path: path.parent.write_text(""), "does not exist"),
    ],
)
def test_a_path_that_can_hold_no_database(tmp_path: Path, make: Any, says: str) -> None:
    path = tmp_path / "folder" / "sweeps.db"
    make(path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=says):
        open_storage(f"sqlite:///{path}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_file_is_not_created_to_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*sweeps run"):
        open_storage(f"sqlite:///{tmp_path / 'sweeps.db'}", create=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder() -> None:
    # /proc refuses root too, whom permission bits do not stop.
    with pytest.raises(UserError, match="writable"):
        open_storage("sqlite:////proc/sweeps.db")


@pytest.fixture
def secured_url(postgres_server: Any, postgres_db: str) -> Iterator[str]:
    """A database whose user `secured` must give the password `s3cr3t@/x` over the socket."""
    rules = Path(postgres_server.pgdata) / "pg_hba.conf"
    open_to_all = rules.read_text()
    engine = create_engine(postgres_db, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE secured LOGIN PASSWORD 's3cr3t@/x'"))
        connection.execute(text("GRANT CREATE ON SCHEMA public TO secured"))
        rules.write_text(f"local all secured scram-sha-256\n{open_to_all}")
        connection.execute(text("SELECT pg_reload_conf()"))
        _wait_until_refused(postgres_db)
        url = make_url(postgres_db).set(username="secured", password="s3cr3t@/x")
        yield url.render_as_string(hide_password=False)
        rules.write_text(open_to_all)
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.execute(text("DROP OWNED BY secured"))
        connection.execute(text("DROP ROLE secured"))
    engine.dispose()


def _wait_until_refused(url: str) -> None:
    engine = create_engine(make_url(url).set(username="secured", password="wrong"))
    with contextlib.suppress(OperationalError):
        for _ in range(2000):
            engine.connect().close()
            engine.dispose()


def test_a_wrong_password_is_an_error_without_it(
    secured_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_storage(secured_url) as storage:
        assert "s3cr3t" not in repr(storage)
        create_sweep(storage, "a", ["minimize"], SweepRecord("", None, {}, {}, 0, {}))
        with pytest.raises(UserError, match="study 'a' exists already") as again:
            create_sweep(storage, "a", ["minimize"], SweepRecord("", None, {}, {}, 0, {}))
        assert "s3cr3t" not in str(again.value)
    wrong = make_url(secured_url).set(password="s3cr3t-wrong")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"password authentication failed.*Check") as failed:
        open_storage(wrong.render_as_string(hide_password=False))
    with pytest.raises(UserError, match="password") as missing:
        open_storage(make_url(secured_url).set(password=None).render_as_string())
    assert time.monotonic() - began < 2
    assert "s3cr3t" not in f"{failed.value} {missing.value} {caplog.text}"


def test_a_database_that_is_not_on_the_server(postgres_url: str) -> None:
    with pytest.raises(UserError, match=r'"nowhere" does not exist\. Create it'):
        open_storage(str(make_url(postgres_url).set(database="nowhere")))


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(UserError, match="See whether the server runs") as failed:
        open_storage(f"postgresql+psycopg://me:s3cr3t@127.0.0.1:{port}/sweeps")
    assert time.monotonic() - began < 2
    assert "s3cr3t" not in str(failed.value)


def test_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(UserError, match="cannot be opened"):
            open_storage(f"postgresql+psycopg://me@127.0.0.1:{port}/sweeps")
    assert time.monotonic() - began < 3.5


def test_a_database_locked_for_good_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "RACE_SECONDS", 0.1)
    path = tmp_path / "sweeps.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"locked\. Another process holds"):
            open_storage(f"sqlite:///{path}?timeout=0.01")


def test_a_collected_storage_closes_its_connections(database_url: str) -> None:
    storage = open_storage(database_url)
    storage.create_new_study(directions=[])
    engines = _engines(storage)
    del storage
    assert [engine.pool.checkedin() for engine in engines] == [0, 0]


def _engines(storage: StudyStorage) -> list[Any]:
    assert storage._optuna is not None
    return [storage.engine, storage._optuna._rdb.engine]
