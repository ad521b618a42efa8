"""A study DB for commands that read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies import StudyStorage


@contextmanager
def open_settled(url: str) -> Iterator[StudyStorage]:
    """Open the study DB at `url`; what dead workers left RUNNING waits from now on.

    Raises:
        UserError: as `open_storage`.
    """
    from sqlalchemy.exc import DBAPIError

    from studies import open_storage
    from studies.settling import settle

    with open_storage(url, create=False) as storage:
        with suppress(DBAPIError):  # a database that is read-only is shown as it stands
            settle(storage)
        yield storage
