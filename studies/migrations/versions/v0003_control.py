"""The control of a sweep, and by whose code each attempt at a trial was trained.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the columns and `claims`; every sweep may run."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("sweeplane_trial_deleted", "sweeplane_study_deleted"):
            op.execute(f"DROP TRIGGER IF EXISTS {name}")  # `open_storage` makes those of today
    control = sa.Column("control", sa.String(16), nullable=False, server_default="run")
    op.add_column("sweeps", control)
    op.add_column("sweeps", sa.Column("control_reason", sa.Text))
    op.add_column("sweeps", sa.Column("control_at", sa.DateTime))
    op.add_column("sweeps", sa.Column("started_at", sa.DateTime))
    op.add_column("workers", sa.Column("git_commit", sa.String(64)))
    op.add_column("workers", sa.Column("git_dirty", sa.Boolean))
    op.add_column("workers", sa.Column("environment", sa.JSON))
    op.add_column("leases", sa.Column("ended_at", sa.DateTime))
    op.create_table(
        "claims",
        sa.Column(
            "trial_id", sa.Integer, _key("trials.trial_id"), primary_key=True, autoincrement=False
        ),
        sa.Column("token", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("worker_id", sa.Integer, _key("workers.worker_id")),
        sa.Column("claimed_at", sa.DateTime, nullable=False),
    )


def _key(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")
