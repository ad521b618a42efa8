"""Our tables, beside Optuna's in the same database. Every time in them is naive UTC.

Optuna may delete a study (`optuna.delete_study`, the dashboard), and what is ours goes with it:
foreign keys with ON DELETE CASCADE, and on SQLite triggers too. A plain Optuna connection to
SQLite does not enforce foreign keys, and SQLite gives a deleted row's id to the next row, so a
leftover point would become part of another trial's curve. On PostgreSQL `points` has a trigger
instead of its key, which would cost as much as the rows (migration 0004).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

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
    literal,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from studies import tables

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

metadata = MetaData()

# new       the study and its sweep exist                                create_sweep
# running   a worker works on it                                         register: from any other
# drained   the last worker left before the budget was met; RUNNING      running -> drained
#           trials of its workers are WAITING again
# finished  the last worker left, and the budget is met                  running -> finished
# failed    the last worker left with an error                           running -> failed
# Killed workers leave `running`; the next one takes their trials over and it stays `running`.
Status = Literal["new", "running", "drained", "finished", "failed"]

# What the workers of a sweep are to do; each reads it with its heartbeat and in its claims.
# run     take trials                                     create_sweep; resume: from any other;
#                                                         `sweeps run`: from stop, cancel
# pause   end the epoch, hand the trials back, and wait   pause: from run
# stop    end the epoch, hand the trials back, and leave  stop: from run, pause; so does the
#                                                         breaker, with a `control_reason`
# cancel  leave; the trials are given back already        cancel: from any other
# It says what shall be, and `status` what is: a sweep that is paused stays `running` while workers
# wait, and one that was stopped is `drained` when the last of them has left.
Control = Literal["run", "pause", "stop", "cancel"]

# The outcome of a trial that `sweeps cancel` ended. Its state is FAIL, since it holds no place of
# the budget, but it is no failure: nobody trains it or its grid point again.
CANCELLED = "cancelled"

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
    # The sweep's wall clock, by the database's: the time with a worker alive, up to `elapsed_at`.
    Column("elapsed_seconds", Double),
    Column("elapsed_at", DateTime),
    Column("control", String(16), nullable=False, server_default="run"),
    Column("control_reason", Text),  # why Sweeplane set it; NULL: a command did
    Column("control_at", DateTime),
    # When workers last began: one came and no other lived, or the sweep went on after a stop.
    # Failures before it are no reason to stop.
    Column("started_at", DateTime),
)

# live      its heartbeat is younger than `lease_seconds`                register, renew
# silent    older: dead, paused or out of reach. Its leases expire;      the clock
#           its next renew makes it live again, without what was taken
# ended     it left, or its process was found dead on its own machine    sign_off, bury
# A row stays when its worker has ended: it says who trained what.
workers = Table(
    "workers",
    metadata,
    Column("worker_id", Integer, primary_key=True),
    _study_id(nullable=False),
    Column("host", String(255), nullable=False),
    Column("kernel", String(255), nullable=False),  # whose process ids: see `studies.processes`
    Column("pid", Integer, nullable=False),
    Column("started", Double, nullable=False),  # of the process, as its kernel says
    Column("device", String(64), nullable=False),
    Column("lanes", Integer, nullable=False),  # trials at once; 0: it watches others
    Column("version", String(64), nullable=False),
    Column("leads", Boolean, nullable=False),  # `sweeps run`: plans and follows to MLflow
    Column("lease_seconds", Double, nullable=False),
    Column("heartbeat", DateTime, nullable=False),
    Column("ended", DateTime),
    # The code that it trains with, which may be newer than that of the sweep's first run.
    Column("git_commit", String(64)),
    Column("git_dirty", Boolean),
    Column("environment", _JSON),  # python, package versions, device
    Column("numbers", _JSON),  # what it does, as of its heartbeat: `sweeps.numbers.Numbers`
    sqlite_autoincrement=True,  # an id never comes again
)
Index("workers_live", workers.c.study_id, workers.c.ended)

# held      a worker trains the trial; `expires_at` is to come           claim, renew
# expired   `expires_at` is past, and nobody has taken it yet; its       the clock, bury
#           holder may still write, and renew makes it held again
# released  its worker gave it back, the trial is WAITING;               hand_back, sign_off
#           worker_id and expires_at are NULL
# ended     the trial is finished; expires_at is NULL                    finish, or claim after
#                                                                        max_attempts
# `token` grows by one at each claim of the trial: whoever shows an older one writes nothing.
# `attempt` counts from 1 and grows when an expired lease is taken over, not after a release.
# A RUNNING trial without a lease, or with one that does not expire, was begun by a program of
# Optuna's own, without us: nobody takes it over.
leases = Table(
    "leases",
    metadata,
    _trial_id(primary_key=True, autoincrement=False),
    Column("worker_id", Integer, ForeignKey(workers.c.worker_id, ondelete="CASCADE")),
    Column("token", Integer, nullable=False),
    Column("expires_at", DateTime),  # by the database's clock
    Column("attempt", Integer, nullable=False),
    Column("ended_at", DateTime),  # of the trial, by the database's clock
)
Index(
    "leases_open",
    leases.c.worker_id,
    sqlite_where=leases.c.expires_at.is_not(None),
    postgresql_where=leases.c.expires_at.is_not(None),
)

# Who held a trial, one row a token: by whose code each attempt was trained.
claims = Table(
    "claims",
    metadata,
    _trial_id(primary_key=True, autoincrement=False),
    Column("token", Integer, primary_key=True, autoincrement=False),
    Column("worker_id", Integer, ForeignKey(workers.c.worker_id, ondelete="CASCADE")),
    Column("claimed_at", DateTime, nullable=False),
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
            DELETE FROM leases WHERE trial_id = OLD.trial_id;
            DELETE FROM claims WHERE trial_id = OLD.trial_id;
        END""",
    "sweeplane_study_deleted": """
        CREATE TRIGGER IF NOT EXISTS sweeplane_study_deleted AFTER DELETE ON studies BEGIN
            DELETE FROM exports WHERE study_id = OLD.study_id;
            DELETE FROM workers WHERE study_id = OLD.study_id;
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


class utc_in(FunctionElement[datetime]):  # noqa: N801 (an SQL function's name)
    """`utc_now()` and so many seconds."""

    type = DateTime()
    inherit_cache = True

    def __init__(self, seconds: float) -> None:
        super().__init__(literal(float(seconds), Double))


@compiles(utc_in, "sqlite")
def _utc_in_sqlite(element: utc_in, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


@compiles(utc_in, "postgresql")
def _utc_in_postgresql(element: utc_in, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"timezone('utc', clock_timestamp()) + make_interval(secs => {seconds})"
