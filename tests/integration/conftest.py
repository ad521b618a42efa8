"""A study DB on each database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studies import StudyStorage, open_storage


@pytest.fixture
def storage(database_url: str) -> Iterator[StudyStorage]:
    """An open study DB, fresh."""
    with open_storage(database_url) as storage:
        yield storage
