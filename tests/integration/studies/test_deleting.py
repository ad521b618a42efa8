"""A whole study deleted, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import optuna
import pytest
from sqlalchemy import make_url

from studies import Report, SweeplaneError, UserError, open_storage, register, tables
from studies.checks import check
from studies.deleting import delete_study, extent
from tests.conftest import run_sql
from tests.integration.studies.databases import contents, fill
from tests.integration.studies.test_copying import HOLD


def test_everything_of_a_study_goes_and_nothing_else(database_url: str) -> None:
    fill(database_url)
    before = contents(database_url)
    with open_storage(database_url) as storage:
        seen = extent(storage, "digits")
        assert delete_study(storage, "digits") == seen
    assert (seen.trials, seen.running, seen.rows["points"], seen.rows["exports"]) == (10, 0, 240, 2)
    after = contents(database_url)
    assert after == {
        "plain ü": before["plain ü"],
        "points": [],
        "sweeps": [],
        "exports": [],
        "workers": [],
        "leases": [],
        "claims": [],
    }
    assert check(database_url).sound


def test_a_plain_optuna_study(database_url: str) -> None:
    fill(database_url)
    before = contents(database_url)
    with open_storage(database_url) as storage:
        gone = delete_study(storage, "plain ü")
    assert (gone.trials, gone.running) == (1, 1)
    assert contents(database_url) == {k: v for k, v in before.items() if k != "plain ü"}


def test_a_study_that_is_not_there(database_url: str) -> None:
    fill(database_url)
    with open_storage(database_url) as storage:
        with pytest.raises(UserError, match="'digit' does not exist; did you mean 'digits'"):
            delete_study(storage, "digit")
        delete_study(storage, "digits")
        with pytest.raises(UserError, match="does not exist"):
            delete_study(storage, "digits")


def test_a_live_worker_keeps_its_study(database_url: str) -> None:
    fill(database_url)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with open_storage(database_url) as storage:
        with subprocess.Popen([sys.executable, "-c", HOLD, database_url], **pipes) as process:
            try:
                assert process.stdout.readline() == "held\n"
                before = contents(database_url)
                for refused in (extent, delete_study):
                    with pytest.raises(
                        UserError, match=rf"by process {process.pid} .*sweeps stop digits --wait"
                    ):
                        refused(storage, "digits")
                assert contents(database_url) == before
            finally:
                process.kill()
        assert delete_study(storage, "digits").trials == 10


def test_nothing_is_deleted_when_a_part_fails(database_url: str) -> None:
    fill(database_url)
    run_sql(
        database_url,
        "CREATE TABLE notes (trial INTEGER NOT NULL REFERENCES trials (trial_id))",
        "INSERT INTO notes SELECT max(trial_id) FROM trials WHERE number > 5",
    )
    before = contents(database_url)
    with open_storage(database_url) as storage:
        with pytest.raises(SweeplaneError, match=r"was not deleted from .*neither Optuna's nor"):
            delete_study(storage, "digits")
        assert contents(database_url) == before
        assert optuna.load_study(study_name="digits", storage=storage).trials
        register(storage, 2)


def test_a_role_that_knows_optunas_tables_only_deletes_trials_with_their_points(
    postgres_db: str,
) -> None:
    role, url = make_url(postgres_db).database, make_url(postgres_db)
    known = ", ".join(table.name for table in tables.trials.metadata.sorted_tables)
    with open_storage(postgres_db) as storage:
        study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "plain")
        for _ in range(2):
            trial_id = storage.create_new_trial(study_id)
            assert not storage.report([Report(trial_id, 1, None, {"valid/loss": 0.5})])
    run_sql(
        postgres_db,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT ALL ON {known}, alembic_version TO {role}",
    )
    try:
        theirs = url.set(username=role, password="x").render_as_string(hide_password=False)
        shadow = "CREATE TEMPORARY TABLE points (trial_id INTEGER)"
        run_sql(theirs, shadow, "DELETE FROM trials WHERE number = 1")
        assert len(contents(postgres_db)["points"]) == 1
        plain = optuna.storages.RDBStorage(theirs)
        plain.delete_study(study_id)
        plain.remove_session()
        plain.engine.dispose()
        assert contents(postgres_db)["points"] == []
    finally:
        run_sql(postgres_db, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
