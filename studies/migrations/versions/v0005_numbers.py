"""What each worker does, in numbers, beside its heartbeat.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the column; workers that have ended have no numbers."""
    op.add_column("workers", sa.Column("numbers", sa.JSON))
