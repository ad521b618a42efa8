"""Optuna's own storage suite on `open_storage`, and what we read of Optuna's private names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from optuna.storages import BaseStorage, RDBStorage
from optuna.testing.pytest_storages import StorageTestCase
from sqlalchemy import text

from studies import migrations, open_storage, setup
from tests.integration.studies.databases import differences


class TestSqlite(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BaseStorage]:
        with open_storage(f"sqlite:///{tmp_path / 'sweeps.db'}") as storage:
            yield storage


class TestPostgres(StorageTestCase):
    @pytest.fixture
    def storage(self, postgres_url: str) -> Iterator[BaseStorage]:
        with open_storage(postgres_url) as storage:
            yield storage
            with storage.engine.begin() as connection:
                connection.execute(text("TRUNCATE studies CASCADE"))


def test_the_pinned_schema_of_optuna_is_that_of_the_installed_one(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
    assert storage.get_head_version() == setup.OPTUNA_HEAD
    storage.engine.dispose()


def test_our_schema_is_what_the_migrations_make(database_url: str) -> None:
    with open_storage(database_url) as storage, storage.engine.connect() as connection:
        assert differences(connection) == []


def test_the_listed_revisions_are_the_files_in_order() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == migrations.REVISIONS
