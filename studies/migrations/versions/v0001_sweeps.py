"""sweeps, points and exports.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the three tables; a deleted study or trial takes its rows along."""
    _sweeps()
    _points()
    _exports()


def _sweeps() -> None:
    op.create_table(
        "sweeps",
        _parent("study_id", "studies", primary_key=True, autoincrement=False),
        sa.Column("spec_text", sa.Text, nullable=False),
        sa.Column("spec_file", sa.Text),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("space", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("git_commit", sa.String(64)),
        sa.Column("git_dirty", sa.Boolean),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.Column("runner_host", sa.String(255)),
        sa.Column("runner_pid", sa.Integer),
        sa.Column("runner_started", sa.Double),
        sa.Column("runner_heartbeat", sa.DateTime),
    )


def _points() -> None:
    op.create_table(
        "points",
        _parent("trial_id", "trials", primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Double),
        sqlite_with_rowid=False,
    )


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("export_id", sa.Integer, primary_key=True),
        _parent("study_id", "studies", nullable=False),
        _parent("trial_id", "trials"),
        sa.Column("tracking_uri", sa.String(512), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("last_step", sa.Integer, nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False),
    )
    _unique("exports_parent", ["study_id", "tracking_uri"], "trial_id IS NULL")
    _unique("exports_trial", ["trial_id", "tracking_uri"], "trial_id IS NOT NULL")


def _parent(name: str, table: str, **options: bool) -> sa.Column[int]:
    key = sa.ForeignKey(f"{table}.{name}", ondelete="CASCADE")
    return sa.Column(name, sa.Integer, key, **options)  # type: ignore[arg-type]  # bools only


def _unique(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        name, "exports", columns, unique=True, sqlite_where=where, postgresql_where=where
    )
