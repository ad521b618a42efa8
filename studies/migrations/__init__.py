"""The schema of our tables, step by step, under the version table `sweeplane_version`.

A new step is one file in `versions/` and its name at the end of `REVISIONS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION_TABLE = "sweeplane_version"
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]


def upgrade(connection: Connection) -> None:
    """Brings our tables to `HEAD`, within the transaction that `connection` is in."""
    from alembic import command  # 0.36 s, and seldom needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
