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

    from studies import SweeplaneError, open_storage
    from studies.retrying import at_most
    from studies.settling import settle

    with open_storage(url, create=False) as storage:
        # What cannot be written, or is held by another process, is shown as it stands.
        with suppress(DBAPIError, SweeplaneError), at_most(1.0):
            settle(storage)
        yield storage
