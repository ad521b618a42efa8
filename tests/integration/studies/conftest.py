"""A sweep in a fresh study DB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from optuna.storages import RDBStorage

from studies import StudyStorage, SweepRecord, create_sweep


@pytest.fixture
def plain(storage: StudyStorage) -> Iterator[RDBStorage]:
    """Optuna's own storage on the same database, as another process has it."""
    rdb = RDBStorage(storage.url.render_as_string(hide_password=False))
    yield rdb
    rdb.remove_session()
    rdb.engine.dispose()


@pytest.fixture
def record() -> SweepRecord:
    """What a small sweep was asked for."""
    return SweepRecord(
        spec_text="task: digits-mlp  # größer\n",
        spec_file="sweep.yaml",
        spec={"metric": {"name": "valid/accuracy", "goal": "maximize"}, "budget": {"trials": 4}},
        space={"lr": {"log": [1e-4, 0.1]}},
        seed=7,
        environment={"python": "3.11", "packages": {"torch": "2.13"}, "device": "cpu"},
        git_commit="0123abc",
        git_dirty=True,
    )


@pytest.fixture
def study_id(storage: StudyStorage, record: SweepRecord) -> int:
    """The study "digits", to be maximized, with its sweep."""
    return create_sweep(storage, "digits", ["maximize"], record)
