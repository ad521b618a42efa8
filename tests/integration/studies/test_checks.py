"""`check` on study DBs that are sound, damaged, foreign or of another version."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import optuna
import pytest
from sqlalchemy import make_url, update

from studies import NoStudiesError, UserError, open_storage, register, schema
from studies.checks import Finding, check
from studies.migrations import VERSION_TABLE
from tests.conftest import run_sql
from tests.integration.studies.databases import fill


@pytest.fixture
def filled(database_url: str) -> str:
    """The URL of a study DB with rows in every table; three of its trials are WAITING."""
    fill(database_url)
    return database_url


def findings(url: str, level: str = "fault") -> dict[str, list[str]]:
    """What `check` finds, by check."""
    report = check(url)
    assert report.sound == (not any(f.level == "fault" for c in report.checks for f in c.findings))
    return {
        one.name: [finding.what for finding in one.findings if finding.level == level]
        for one in report.checks
        if any(finding.level == level for finding in one.findings)
    }


def advice(url: str) -> str:
    (finding,) = (finding for one in check(url).checks for finding in one.findings)
    assert isinstance(finding, Finding)
    return finding.advice


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def path_of(url: str) -> Path:
    return Path(make_url(url).database or "")


def test_a_sound_database(filled: str) -> None:
    report = check(filled)
    assert report.sound
    assert report.versions.current
    names = [one.name for one in report.checks]
    if is_sqlite(filled):
        assert names == ["schema", "file", "orphans", "triggers", "numbers", "values", "running"]
    else:
        assert names == ["schema", "orphans", "numbers", "values", "running", "sequences"]
    assert findings(filled) == {}
    assert findings(filled, "note") == {}


def test_nothing_changes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    fill(url)
    with contextlib.closing(sqlite3.connect(tmp_path / "sweeps.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # as a plain Optuna database has it
        connection.execute("DROP TRIGGER sweeplane_trial_deleted")
    before = path_of(url).read_bytes()
    assert not check(url).sound
    assert path_of(url).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps.db"]


def test_while_somebody_writes(filled: str) -> None:
    with open_storage(filled) as storage, storage.engine.connect() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
        assert check(filled).sound


@pytest.mark.parametrize(
    ("statement", "constraint", "says"),
    [
        (
            "INSERT INTO points (trial_id, name, step, value) VALUES (998, 'a', 1, 0), (999, 'a', "
            "1, 0)",
            "points_trial_id_fkey",
            "table points: 2 rows whose trial is not there (trial_id 998, 999)",
        ),
        (
            "UPDATE exports SET trial_id = 999 WHERE trial_id IS NOT NULL",
            "exports_trial_id_fkey",
            "table exports: 1 row whose trial is not there (trial_id 999)",
        ),
        (
            "UPDATE sweeps SET study_id = 77",
            "sweeps_study_id_fkey",
            "table sweeps: 1 row whose study is not there (study_id 77)",
        ),
        (
            "UPDATE trial_params SET trial_id = 999 WHERE param_id = 1",
            "trial_params_trial_id_fkey",
            "table trial_params: 1 row whose trial is not there (trial_id 999)",
        ),
    ],
)
def test_orphans(filled: str, statement: str, constraint: str, says: str) -> None:
    table = constraint.removesuffix("_trial_id_fkey").removesuffix("_study_id_fkey")
    if not is_sqlite(filled):
        run_sql(filled, f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}")
    run_sql(filled, statement)
    assert findings(filled)["orphans"] == [says]
    remedy = next(f.advice for c in check(filled).checks for f in c.findings)
    run_sql(filled, remedy.partition("then: ")[2])
    assert findings(filled) == {}


def test_an_orphan_in_a_table_of_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    fill(url)
    run_sql(
        url,
        "CREATE TABLE theirs (id INTEGER, study INTEGER REFERENCES studies (study_id))",
        "INSERT INTO theirs VALUES (1, 99)",
    )
    assert findings(url) == {"orphans": ["table theirs: 1 row without a row of studies"]}


def test_a_missing_trigger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    fill(url)
    run_sql(url, "DROP TRIGGER sweeplane_study_deleted")
    (found,) = findings(url)["triggers"]
    assert "sweeplane_study_deleted is missing" in found
    assert "sweeps storage upgrade" in advice(url)
    open_storage(url).close()
    assert check(url).sound


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE trials SET number = 20 WHERE number = 9", "10 different numbers up to 20"),
        ("UPDATE trials SET number = 5 WHERE number = 9", "9 different numbers up to 8"),
    ],
)
def test_numbers_with_gaps_or_twice(filled: str, statement: str, says: str) -> None:
    run_sql(filled, statement)
    (found,) = findings(filled)["numbers"]
    assert f"study 'digits': 10 trials with {says}; they should be 0 to 9" in found


def test_a_complete_trial_without_its_values(filled: str) -> None:
    run_sql(filled, "DELETE FROM trial_values WHERE objective = 1 AND value IS NOT NULL")
    assert findings(filled)["values"] == ["study 'digits', trial 1: complete with 1 of 2 values"]
    assert advice(filled) == "train it again: sweeps retry digits 1"


def test_values_that_optuna_cannot_read(filled: str) -> None:
    run_sql(
        filled,
        "UPDATE trial_values SET value_type = 'FINITE' WHERE value_type = 'INF_POS'",
        "UPDATE trial_intermediate_values SET intermediate_value = 1.5 "
        "WHERE intermediate_value_type = 'NAN' AND trial_id = (SELECT min(trial_id) FROM trials)",
    )
    assert findings(filled)["values"] == [
        "table trial_values: 1 row whose value_type does not fit value",
        "table trial_intermediate_values: 1 row whose intermediate_value_type does not fit "
        "intermediate_value",
    ]


def test_running_trials_that_nobody_runs_are_a_note(filled: str) -> None:
    run_sql(filled, "UPDATE trials SET state = 'RUNNING' WHERE state = 'WAITING'")
    plain = "study 'digits': 6 trials RUNNING without a lease (4, 5, 6, 7, 8, ...)"
    assert findings(filled, "note") == {"running": [plain]}
    assert "state=optuna.trial.TrialState.FAIL" in advice(filled)
    past = "'2026-01-02 03:04:05.000000'"
    run_sql(
        filled,
        "DELETE FROM leases",
        "INSERT INTO leases (trial_id, token, attempt, expires_at)"
        f" SELECT trial_id, 1, 1, {'TIMESTAMP ' if 'postgres' in filled else ''}{past}"
        " FROM trials WHERE state = 'RUNNING'",
    )
    says = "study 'digits': 6 trials RUNNING, and nobody runs it (4, 5, 6, 7, 8, ...)"
    assert findings(filled, "note") == {"running": [says]}
    assert check(filled).sound
    assert "sweeps run FILE" in advice(filled)
    with open_storage(filled) as storage:
        register(storage, 2)
        assert findings(filled, "note") == {}
        with storage.engine.begin() as connection:
            connection.execute(update(schema.workers).values(started=1.0))
        assert findings(filled, "note") == {"running": [says]}


def test_a_sequence_that_is_behind(postgres_db: str) -> None:
    fill(postgres_db)
    run_sql(postgres_db, "SELECT setval('trials_trial_id_seq', 3)")
    (found,) = findings(postgres_db)["sequences"]
    assert found.startswith("table trials: the next trial_id would be 4, and ")
    run_sql(postgres_db, advice(postgres_db))
    assert check(postgres_db).sound


@pytest.mark.parametrize(
    ("statement", "level", "says"),
    [
        (f"UPDATE {VERSION_TABLE} SET version_num = '0999'", "fault", "newer Sweeplane"),
        ("UPDATE alembic_version SET version_num = 'v9.0.0.a'", "fault", "newer Optuna"),
        ("UPDATE alembic_version SET version_num = 'v3.0.0.d'", "fault", "Optuna's schema is v3.0"),
        (f"DROP TABLE {VERSION_TABLE}", "note", "Sweeplane's tables are not there"),
    ],
)
def test_another_version(filled: str, statement: str, level: str, says: str) -> None:
    run_sql(filled, statement)
    (found,) = findings(filled, level)["schema"]
    assert says in found
    assert "upgrade" in advice(filled)
    assert check(filled).sound == (level == "note")


def test_a_plain_optuna_database(database_url: str) -> None:
    plain = optuna.storages.RDBStorage(database_url)
    study = optuna.create_study(storage=plain)
    study.ask()
    plain.remove_session()
    plain.engine.dispose()
    assert list(findings(database_url, "note")) == ["schema"]
    assert check(database_url).sound


def test_a_damaged_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    fill(url)
    with contextlib.closing(sqlite3.connect(tmp_path / "sweeps.db")) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'trial_user_attributes'"
        page = connection.execute(query).fetchone()[0]
    with (tmp_path / "sweeps.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x07" * size)
    found = findings(url)
    assert "file" in found
    assert not check(url).sound
    assert ".recover" in next(f.advice for c in check(url).checks for f in c.findings)


def test_a_file_cut_short(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    fill(url)
    with (tmp_path / "sweeps.db").open("r+b") as file:
        file.truncate(4096 * 5)
    assert "file" in findings(url)


def test_no_database_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sweeps.db"
    with pytest.raises(NoStudiesError, match="does not exist"):
        check(f"sqlite:///{path}")
    path.touch()
    with pytest.raises(NoStudiesError, match="holds no studies"):
        check(f"sqlite:///{path}")
    path.write_text("x" * 5000)
    assert findings(f"sqlite:///{path}") == {
        "file": ["the file cannot be read: file is not a database"]
    }
    with pytest.raises(UserError, match="See whether the server runs") as failed:
        check("postgresql+psycopg://me:s3cr3t@127.0.0.1:1/x")
    assert "s3cr3t" not in str(failed.value)
