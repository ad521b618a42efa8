"""workers and leases instead of the runner lock; the wall clock is two columns.

Revision ID: 0002
"""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_RUNNER = ("runner_host", "runner_pid", "runner_started", "runner_heartbeat")
_ELAPSED = "sweeplane:elapsed_seconds"  # of 0001, an attribute of the study


def upgrade() -> None:
    """Makes the tables; what a killed runner left RUNNING gets a lease that has expired."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("sweeplane_trial_deleted", "sweeplane_study_deleted"):
            op.execute(f"DROP TRIGGER IF EXISTS {name}")  # `open_storage` makes those of today
    _workers()
    _leases()
    op.add_column("sweeps", sa.Column("elapsed_seconds", sa.Double))
    op.add_column("sweeps", sa.Column("elapsed_at", sa.DateTime))
    _keep_elapsed()
    _expire_running()
    for name in _RUNNER:
        op.drop_column("sweeps", name)


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, _key("studies.study_id"), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("kernel", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("lanes", sa.Integer, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("leads", sa.Boolean, nullable=False),
        sa.Column("lease_seconds", sa.Double, nullable=False),
        sa.Column("heartbeat", sa.DateTime, nullable=False),
        sa.Column("ended", sa.DateTime),
        sqlite_autoincrement=True,
    )
    op.create_index("workers_live", "workers", ["study_id", "ended"])


def _leases() -> None:
    trial = _key("trials.trial_id")
    op.create_table(
        "leases",
        sa.Column("trial_id", sa.Integer, trial, primary_key=True, autoincrement=False),
        sa.Column("worker_id", sa.Integer, _key("workers.worker_id")),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("attempt", sa.Integer, nullable=False),
    )
    where = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "leases_open", "leases", ["worker_id"], sqlite_where=where, postgresql_where=where
    )


def _keep_elapsed() -> None:
    connection = op.get_bind()
    found = connection.execute(
        sa.text("SELECT study_id, value_json FROM study_user_attributes WHERE key = :key"),
        {"key": _ELAPSED},
    ).all()
    for study_id, value in found:
        connection.execute(
            sa.text("UPDATE sweeps SET elapsed_seconds = :seconds WHERE study_id = :study"),
            {"seconds": float(json.loads(value)), "study": study_id},
        )
    connection.execute(
        sa.text("DELETE FROM study_user_attributes WHERE key = :key"), {"key": _ELAPSED}
    )


def _expire_running() -> None:
    past = sa.bindparam("past", datetime(2000, 1, 1), sa.DateTime)
    op.get_bind().execute(
        sa.text(
            "INSERT INTO leases (trial_id, token, attempt, expires_at)"
            " SELECT trial_id, 0, 1, :past FROM trials"
            " WHERE state = 'RUNNING' AND study_id IN (SELECT study_id FROM sweeps)"
        ).bindparams(past)
    )


def _key(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")
