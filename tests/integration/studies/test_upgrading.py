"""Study DBs of older versions, Optuna's and ours, brought to this one on both databases."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from studies import (
    Drawn,
    UserError,
    claim,
    get_sweep,
    migrations,
    open_storage,
    queries,
    register,
    schema,
    setup,
)
from studies.checks import check
from studies.versions import Versions, upgrade
from tests.conftest import run_sql
from tests.integration.studies.databases import differences, fill

CURRENT = Versions(setup.OPTUNA_HEAD, migrations.HEAD)
# What every released version has, in the columns of 0001.
ROWS = (
    "INSERT INTO sweeps (study_id, spec_text, spec_file, spec, space, seed, environment, status,"
    " created_at, updated_at) VALUES (1, 'task: x', 's.yaml', '{\"metric\": {\"name\": \"m\"}}',"
    " '{}', 7, '{}', 'finished', '2026-01-02 03:04:05.678900', '2026-01-02 03:04:06.000000')",
    "INSERT INTO points (trial_id, name, step, value) VALUES (1, 'valid/loss', 1, 0.125),"
    " (1, 'valid/loss', 2, NULL)",
    "INSERT INTO exports (study_id, trial_id, tracking_uri, run_id, last_step, closed)"
    " VALUES (1, NULL, 'uri', 'run', 3, '0')",
)


def optuna_database(url: str) -> None:
    """Optuna's own database with one study and one trial."""
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name="old", direction="minimize")
    study.tell(study.ask(), 0.25)
    storage.remove_session()
    storage.engine.dispose()


def our_tables(url: str, revision: str) -> None:
    """Our tables as `revision` had them, made by its own migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_what_a_runner_of_0001_left_is_taken_over(database_url: str) -> None:
    optuna_database(database_url)
    our_tables(database_url, "0001")
    run_sql(
        database_url,
        *ROWS,
        "UPDATE sweeps SET runner_host = 'here', runner_pid = 1, runner_started = 1.5,"
        " runner_heartbeat = '2026-01-02 03:04:05.000000'",
        "UPDATE trials SET state = 'RUNNING'",
        "INSERT INTO study_user_attributes (study_id, key, value_json)"
        " VALUES (1, 'sweeplane:elapsed_seconds', '12.5')",
    )
    with open_storage(database_url) as storage:
        assert storage.get_study_user_attrs(1) == {}
        worker = register(storage, 1)
        assert worker.elapsed_seconds == 12.5
        (lease,) = claim(storage, worker, 4, places=1).leases
        assert (lease.number, lease.token, lease.attempt) == (0, 1, 2)
        assert storage.draw([Drawn(lease.trial_id, {}, rewind=0)]) == set()  # no checkpoint
        assert queries.curves(storage, "old") == {}


@pytest.mark.parametrize("how", ["open_storage", "upgrade"])
@pytest.mark.parametrize("revision", migrations.REVISIONS)
def test_rows_of_each_released_version_stay(database_url: str, revision: str, how: str) -> None:
    optuna_database(database_url)
    our_tables(database_url, revision)
    run_sql(database_url, *ROWS)
    if how == "upgrade":
        before, after = upgrade(database_url)
        assert (before.sweeplane, after) == (revision, CURRENT)
    with open_storage(database_url) as storage, storage.engine.connect() as connection:
        assert differences(connection) == []
        sweep = get_sweep(storage, "old")
        assert sweep is not None
        assert (sweep.record.spec, sweep.record.seed, sweep.status) == (
            {"metric": {"name": "m"}},
            7,
            "finished",
        )
        assert sweep.created_at.isoformat() == "2026-01-02T03:04:05.678900"
        curve = queries.curves(storage, "old")[0]["valid/loss"]
        assert repr(curve) == "[(1, 0.125), (2, nan)]"
        exports = connection.execute(text("SELECT run_id, last_step FROM exports")).all()
        assert exports == [("run", 3)]
        storage.delete_study(1)
    assert check(database_url).sound


def test_the_same_again_does_nothing(database_url: str) -> None:
    fill(database_url)
    assert upgrade(database_url) == (CURRENT, CURRENT)
    assert upgrade(database_url) == (CURRENT, CURRENT)


def test_a_plain_optuna_database_gets_our_tables(database_url: str) -> None:
    optuna_database(database_url)
    assert upgrade(database_url) == (Versions(setup.OPTUNA_HEAD, None), CURRENT)
    assert check(database_url).sound


def test_an_empty_database_gets_all_tables_when_asked(database_url: str) -> None:
    assert upgrade(database_url, create=True) == (Versions(None, None), CURRENT)
    assert upgrade(database_url, create=True) == (CURRENT, CURRENT)
    with open_storage(database_url, create=False) as storage:
        assert storage.get_all_studies() == []


def test_optunas_own_schema_is_upgraded_too(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(database_url)
    run_sql(
        database_url,
        "DROP INDEX ix_trials_study_id",
        "UPDATE alembic_version SET version_num = 'v3.0.0.d'",
    )
    with pytest.raises(UserError, match="storage upgrade"):
        open_storage(database_url)
    before, after = upgrade(database_url)
    assert (before.optuna, after) == ("v3.0.0.d", CURRENT)
    assert capfd.readouterr() == ("", "")
    with open_storage(database_url) as storage:
        assert len(storage.get_all_trials(2)) == 10
    assert check(database_url).sound


def test_triggers_come_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    fill(url)
    run_sql(url, *(f"DROP TRIGGER {name}" for name in schema.TRIGGERS))
    before, after = upgrade(url)
    assert before.missing_triggers == tuple(schema.TRIGGERS)
    assert after == CURRENT


def test_nothing_is_upgraded_below_a_live_worker(database_url: str) -> None:
    fill(database_url)
    with open_storage(database_url) as storage:
        register(storage, 2)
    assert upgrade(database_url) == (CURRENT, CURRENT)
    run_sql(database_url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    with pytest.raises(UserError, match=r"study 'digits' is being run by process .*stop it there"):
        upgrade(database_url)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0999'",
            "newer Sweeplane.*pip install --upgrade sweeplane",
        ),
        (
            "UPDATE alembic_version SET version_num = 'v9.0.0.a'",
            "newer Optuna.*pip install --upgrade optuna",
        ),
    ],
)
def test_a_newer_database_is_refused(database_url: str, statement: str, says: str) -> None:
    fill(database_url)
    run_sql(database_url, statement)
    with pytest.raises(UserError, match=says):
        upgrade(database_url)


def test_there_must_be_studies(database_url: str, tmp_path: Path) -> None:
    run_sql(database_url, "CREATE TABLE others (id INTEGER)")
    with pytest.raises(UserError, match="holds no studies"):
        upgrade(database_url)
    with pytest.raises(UserError, match="does not exist"):
        upgrade(f"sqlite:///{tmp_path / 'nothing.db'}")
