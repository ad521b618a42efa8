"""A study DB copied between SQLite and PostgreSQL: everything, or nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import Engine, event, make_url, text

from studies import (
    SweeplaneError,
    UserError,
    copying,
    live_workers,
    open_storage,
    register,
    target,
)
from studies.checks import check
from studies.copying import copy_storage
from studies.migrations import VERSION_TABLE
from studies.transfer import Sum
from sweeps.export import study_json
from tests.conftest import run_sql
from tests.integration.studies.databases import (
    RECORD,
    MakeUrl,
    contents,
    fill,
    leftovers,
)

KINDS = ("sqlite", "postgres")
HOLD = """
import sys
from studies import get_sweep, open_storage, register
with open_storage(sys.argv[1]) as storage:
    register(storage, get_sweep(storage, "digits").study_id)
    print("held", flush=True)
    sys.stdin.read()
"""
KILLED = """
import os, signal, sys
from studies.copying import copy_storage

def kill(phase, *_):
    if phase == "verify":
        os.kill(os.getpid(), signal.SIGKILL)

copy_storage(*sys.argv[1:], progress=kill)
"""


@pytest.fixture
def new_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeUrl]:
    """Makes the URL of one more empty database, of either kind."""
    made = []

    def make(kind: str) -> str:
        name = f"test_{uuid.uuid4().hex}"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server: str = request.getfixturevalue("postgres_url")
        run_sql(server, f"CREATE DATABASE {name}")
        made.append((server, name))
        return make_url(server).set(database=name).render_as_string(hide_password=False)

    yield make
    for server, name in made:
        run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def is_untouched(url: str) -> bool:
    """Whether the target is what it was: no file, or a database without anything of ours."""
    if url.startswith("sqlite"):
        path = Path(make_url(url).database or "")
        return not list(path.parent.glob(f"{path.name}*"))
    return leftovers(url) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", KINDS)
def test_everything_is_copied(new_url: MakeUrl, kind: str, to: str) -> None:
    source, there = new_url(kind), new_url(to)
    fill(source)
    steps: list[tuple[str, str, int, int]] = []
    done = copy_storage(source, there, progress=lambda *step: steps.append(step))

    assert all(table.equal for table in done.tables)
    rows = {table.name: table.source_rows for table in done.tables}
    assert (rows["studies"], rows["trials"], rows["points"], rows["exports"]) == (2, 11, 240, 2)
    assert (rows["trial_heartbeats"], rows[VERSION_TABLE], rows["alembic_version"]) == (1, 1, 1)
    before, after = contents(source), contents(there)
    assert len(before["digits"][4]) == 10
    assert before == after
    with open_storage(source) as one, open_storage(there) as other:
        for study in ("digits", "plain ü"):
            assert repr(study_json(one, study)) == repr(study_json(other, study))
    assert check(there).sound
    total = sum(n for name, n in rows.items() if name not in (VERSION_TABLE, "alembic_version"))
    copied = [step for step in steps if step[0] == "copy"]
    assert copied[-1][2:] == (total, total)
    assert {step[0] for step in steps} == {"copy", "verify"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_goes_on_with_the_next_free_ids(new_url: MakeUrl, kind: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)
    copy_storage(source, there)
    with open_storage(there) as storage:
        study = optuna.load_study(study_name="digits", storage=storage)
        highest = max(trial._trial_id for s in storage.get_all_studies()
                      for trial in storage.get_all_trials(s._study_id))  # fmt: skip
        new = storage.create_new_trial(study._study_id)
        assert (new, storage.get_trial(new).number) == (highest + 1, 10)
        assert storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "next") == 4
        storage.set_trial_user_attr(new, "a", 1)
        with storage.engine.begin() as connection:
            connection.execute(text(
                "INSERT INTO exports (study_id, trial_id, tracking_uri, run_id, last_step, closed)"
                f" VALUES (2, {new}, 'x', 'y', 0, '0')"
            ))  # fmt: skip


def test_there_and_back_is_the_same(new_url: MakeUrl) -> None:
    first, second, third = new_url("sqlite"), new_url("postgres"), new_url("sqlite")
    fill(first)
    there = copy_storage(first, second)
    back = copy_storage(second, third)
    assert [t.source_checksum for t in there.tables] == [t.target_checksum for t in back.tables]
    assert contents(first) == contents(third)
    with contextlib.closing(open_storage(third)) as storage, storage.engine.connect() as connection:
        stored = connection.execute(text("SELECT spec FROM sweeps")).scalar_one()
    assert stored == json.dumps(RECORD.spec)


def test_the_source_is_not_changed(new_url: MakeUrl) -> None:
    source = new_url("sqlite")
    fill(source)
    path = Path(make_url(source).database or "")
    before = path.read_bytes()
    copy_storage(source, new_url("sqlite"))
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.glob(f"{path.name}*")] == [path.name]


def test_a_checksum_sees_every_difference_but_order() -> None:
    def checksum(*rows: tuple[Any, ...]) -> str:
        found = Sum()
        found.add(rows)
        return found.text

    a, b = (1, 0.1, None, "x"), (2, float("inf"), True, "x")
    assert checksum(a, b) == checksum(b, a)
    assert checksum(a, a) != checksum(a)
    assert checksum(a) != checksum((1, 0.1 + 2**-56, None, "x"))
    assert checksum(a) != checksum((1, 0.1, "None", "x"))
    assert checksum(b) != checksum((2, float("-inf"), True, "x"))
    assert checksum(("1",)) != checksum((1,))
    assert checksum(a, a, b) != checksum(a, b, b)


def test_zero_without_its_sign_is_the_same_number(new_url: MakeUrl) -> None:
    source, there = new_url("postgres"), new_url("sqlite")
    fill(source)
    run_sql(source, "UPDATE points SET value = '-0.0' WHERE name = 'zero'")
    assert all(table.equal for table in copy_storage(source, there).tables)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_with_rows_is_refused_and_kept(new_url: MakeUrl, kind: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)
    with open_storage(there) as storage:
        storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "mine")
    with pytest.raises(UserError, match=r"is not empty: studies \(1\), .*Give an empty database"):
        copy_storage(source, there)
    with open_storage(there) as storage:
        assert [study.study_name for study in storage.get_all_studies()] == ["mine"]


def test_one_database_is_not_two(new_url: MakeUrl, tmp_path: Path) -> None:
    source = new_url("sqlite")
    fill(source)
    link = tmp_path / "link.db"
    link.symlink_to(make_url(source).database or "")
    for other in (source, f"sqlite:///{link}"):
        with pytest.raises(UserError, match="the same database"):
            copy_storage(source, other)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (f"UPDATE {VERSION_TABLE} SET version_num = '0999'", "newer Sweeplane: its schema is 0999"),
        ("UPDATE alembic_version SET version_num = 'v9'", "newer Optuna: its schema is v9"),
        ("UPDATE alembic_version SET version_num = 'v3.0.0.d'", "older schema.*storage upgrade"),
        (f"DROP TABLE {VERSION_TABLE}", "older schema.*Sweeplane none.*storage upgrade"),
        ("ALTER TABLE studies RENAME TO others", "holds no studies"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_of_another_version_is_refused(
    new_url: MakeUrl, kind: str, statement: str, says: str
) -> None:
    source, there = new_url(kind), new_url("sqlite")
    open_storage(source).close()
    run_sql(source, statement)
    with pytest.raises(UserError, match=says):
        copy_storage(source, there)
    assert is_untouched(there)


def test_a_database_of_another_program_is_no_target(new_url: MakeUrl) -> None:
    source, there = new_url("sqlite"), new_url("postgres")
    fill(source)
    run_sql(there, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    with pytest.raises(UserError, match="belongs to another program"):
        copy_storage(source, there)
    assert leftovers(there) == ["alembic_version"]


def test_tables_of_others_are_named(new_url: MakeUrl) -> None:
    source = new_url("sqlite")
    fill(source)
    run_sql(source, "CREATE TABLE experiments (id INTEGER)")
    assert copy_storage(source, new_url("sqlite")).not_copied == ("experiments",)


def test_a_running_sweep_is_copied_only_by_force(new_url: MakeUrl) -> None:
    source, there = new_url("sqlite"), new_url("sqlite")
    fill(source)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, source], **pipes) as process:
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(UserError, match=rf"by process {process.pid} .*--force"):
                copy_storage(source, there)
            assert is_untouched(there)
            assert copy_storage(source, there, force=True).running == ("digits",)
        finally:
            process.kill()
    with open_storage(there) as storage:  # the copied worker ends with its process
        assert live_workers(storage, 2) == []
        register(storage, 2, leads=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_row_leaves_nothing(new_url: MakeUrl, kind: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)
    run_sql(source, "INSERT INTO points (trial_id, name, step, value) VALUES (999, 'x', 1, 0.5)")
    with pytest.raises(SweeplaneError, match="Nothing was copied") as failed:
        copy_storage(source, there)
    assert "sweeps storage check" in str(failed.value)
    assert "points" in str(failed.value) or kind == "sqlite"
    assert is_untouched(there)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_study_db_stays_an_empty_one(new_url: MakeUrl, kind: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)
    run_sql(source, "INSERT INTO points (trial_id, name, step, value) VALUES (999, 'x', 1, 0.5)")
    open_storage(there).close()
    with pytest.raises(SweeplaneError, match="Nothing was copied"):
        copy_storage(source, there)
    with open_storage(there) as storage:
        assert storage.get_all_studies() == []
        with storage.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM version_info")).scalar() == 1
    run_sql(source, "DELETE FROM points WHERE trial_id = 999")
    assert copy_storage(source, there).tables


def test_a_number_that_postgresql_cannot_hold(new_url: MakeUrl) -> None:
    source, there = new_url("sqlite"), new_url("postgres")
    fill(source)
    run_sql(source, f"UPDATE sweeps SET seed = {2**40}")
    with pytest.raises(SweeplaneError, match=r"stopped at table sweeps: .*out of range"):
        copy_storage(source, there)
    assert is_untouched(there)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_source_leaves_nothing(new_url: MakeUrl, kind: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)
    path = Path(make_url(source).database or "")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'trial_user_attributes'"
        page = connection.execute(query).fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x07" * 4096)
    with pytest.raises(SweeplaneError, match=r"malformed.*sweeps storage check"):
        copy_storage(source, there)
    assert is_untouched(there)


def test_a_full_disk_leaves_nothing(new_url: MakeUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    source, there = new_url("sqlite"), new_url("sqlite")
    fill(source)
    run_sql(source, "UPDATE sweeps SET spec_text = hex(zeroblob(500000))")  # 250 pages

    def small(url: Any) -> Engine:
        engine = make_engine(url)
        event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA max_page_count = 100"))
        return engine

    make_engine = copying.make_engine
    monkeypatch.setattr(copying, "make_engine", small)
    with pytest.raises(SweeplaneError, match=r"full\. Nothing was copied\. Free some space") as e:
        copy_storage(source, there)
    assert e.value.exit_code == 1
    assert is_untouched(there)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", ["copy", "verify"])
def test_ctrl_c_leaves_nothing(new_url: MakeUrl, kind: str, phase: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)

    def stop(now: str, table: str, *_: int) -> None:
        if (now, table) == (phase, "points"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_storage(source, there, progress=stop)
    assert is_untouched(there)


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_kill_the_same_copy_goes_through(new_url: MakeUrl, kind: str) -> None:
    source, there = new_url("sqlite"), new_url(kind)
    fill(source)
    killed = subprocess.run([sys.executable, "-c", KILLED, source, there], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert all(table.equal for table in copy_storage(source, there).tables)


def test_a_copy_that_differs_is_undone(new_url: MakeUrl) -> None:
    source, there = new_url("sqlite"), new_url("sqlite")
    fill(source)
    open_storage(there).close()
    run_sql(
        there,
        """CREATE TRIGGER liar AFTER INSERT ON points WHEN NEW.name = 'zero' BEGIN
        UPDATE points SET value = 1e-300 WHERE trial_id = NEW.trial_id AND name = 'zero'; END""",
    )
    with pytest.raises(
        SweeplaneError, match=r"differs from its source in points, so it was undone"
    ):
        copy_storage(source, there)
    with open_storage(there) as storage:
        assert storage.get_all_studies() == []


def test_somebody_elses_rows_are_never_discarded(new_url: MakeUrl) -> None:
    there = new_url("sqlite")
    engine = copying.make_engine(make_url(there))
    fresh = target.Fresh(make_url(there), engine)
    fresh.prepare()
    with open_storage(there) as storage:
        storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "theirs")
    fresh.discard()
    engine.dispose()
    with open_storage(there) as storage:
        assert len(storage.get_all_studies()) == 1


def test_no_message_holds_a_password(new_url: MakeUrl) -> None:
    source = new_url("sqlite")
    fill(source)
    nowhere = "postgresql+psycopg://me:s3cr3t@127.0.0.1:1/x"
    for pair in ((source, nowhere), (nowhere, source), (nowhere, nowhere)):
        with pytest.raises(UserError) as failed:
            copy_storage(*pair)
        assert "s3cr3t" not in str(failed.value)
        assert "***" in str(failed.value)
