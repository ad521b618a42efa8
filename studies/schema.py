"""Our tables, beside Optuna's in the same database. Every time in them is naive UTC.

Optuna may delete a study (`optuna.delete_study`, the dashboard), and what is ours goes with it:
foreign keys with ON DELETE CASCADE, and on SQLite triggers too. A plain Optuna connection to
SQLite does not enforce foreign keys, and SQLite gives a deleted row's id to the next row, so a
leftover point would become part of another trial's curve.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from studies import tables

metadata = MetaData()

# new       the study and its sweep exist                                create_sweep
# running   a runner holds the sweep                                     new, drained, failed,
#                                                                        finished (budget raised)
# drained   stopped before the budget was met; RUNNING trials are        running -> drained
#           WAITING again
# finished  the budget is met                                            running -> finished
# failed    an error ended the run                                       running -> failed
# A killed runner leaves `running`; the next one takes the sweep over and it stays `running`.
Status = Literal["new", "running", "drained", "finished", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

_JSON = JSON(none_as_null=True)


def _study_id(**options: Any) -> Column[int]:
    parent = ForeignKey(tables.studies.c.study_id, ondelete="CASCADE")
    return Column("study_id", Integer, parent, **options)


def _trial_id(**options: Any) -> Column[int]:
    parent = ForeignKey(tables.trials.c.trial_id, ondelete="CASCADE")
    return Column("trial_id", Integer, parent, **options)


sweeps = Table(
    "sweeps",
    metadata,
    _study_id(primary_key=True, autoincrement=False),
    Column("spec_text", Text, nullable=False),  # the sweep file as the user wrote it
    Column("spec_file", Text),  # its path
    Column("spec", _JSON, nullable=False),  # the resolved spec
    Column("space", _JSON, nullable=False),  # the space's signature, to compare on resume
    Column("seed", Integer, nullable=False),
    Column("git_commit", String(64)),
    Column("git_dirty", Boolean),
    Column("environment", _JSON, nullable=False),  # python, package versions, device
    Column("status", String(16), nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=False),
    # The runner lock: all four NULL when nobody runs the sweep. See `studies.runner`.
    Column("runner_host", String(255)),
    Column("runner_pid", Integer),
    Column("runner_started", Double),  # seconds since the epoch, as the host's kernel says
    Column("runner_heartbeat", DateTime),
)

points = Table(
    "points",
    metadata,
    _trial_id(primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),  # epoch, from 1
    Column("value", Double),  # NULL is NaN
    sqlite_with_rowid=False,
)

exports = Table(
    "exports",
    metadata,
    Column("export_id", Integer, primary_key=True),
    _study_id(nullable=False),
    _trial_id(),  # NULL: the sweep's parent run
    Column("tracking_uri", String(512), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("last_step", Integer, nullable=False),  # every point up to it is exported
    Column("closed", Boolean, nullable=False),  # the run has its final status
)
Index(
    "exports_parent",
    exports.c.study_id,
    exports.c.tracking_uri,
    unique=True,
    sqlite_where=exports.c.trial_id.is_(None),
    postgresql_where=exports.c.trial_id.is_(None),
)
Index(
    "exports_trial",
    exports.c.trial_id,
    exports.c.tracking_uri,
    unique=True,
    sqlite_where=exports.c.trial_id.is_not(None),
    postgresql_where=exports.c.trial_id.is_not(None),
)

# A migration of Optuna's that rebuilds a table drops its triggers, so `open_storage` looks for
# them each time and creates what is missing.
TRIGGERS = {
    "sweeplane_trial_deleted": """
        CREATE TRIGGER IF NOT EXISTS sweeplane_trial_deleted AFTER DELETE ON trials BEGIN
            DELETE FROM points WHERE trial_id = OLD.trial_id;
            DELETE FROM exports WHERE trial_id = OLD.trial_id;
        END""",
    "sweeplane_study_deleted": """
        CREATE TRIGGER IF NOT EXISTS sweeplane_study_deleted AFTER DELETE ON studies BEGIN
            DELETE FROM exports WHERE study_id = OLD.study_id;
            DELETE FROM sweeps WHERE study_id = OLD.study_id;
        END""",
}


class utc_now(FunctionElement[datetime]):  # noqa: N801 (an SQL function's name)
    """The database's clock: naive UTC, to the millisecond or finer."""

    type = DateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(*_: Any, **__: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(utc_now, "postgresql")
def _utc_now_postgresql(*_: Any, **__: Any) -> str:
    return "timezone('utc', clock_timestamp())"
