"""Transactions that are run again while the database is lost: its restart is a pause.

Run again: a lost or refused connection, a server that starts or shuts down, a deadlock, a
serialization failure, a SQLite file that another process has locked. Anything else fails at once:
a full disk, a read-only database, a missing right, a statement that ran too long.

    transaction    one that writes; `landed` says whether an earlier COMMIT has arrived after all
    retried        a function that may be called again as a whole: reads, and writes that repeat
    at_most        less patience for the calls of this thread in the body
    known          opening a study DB waits for it too
    hurry          less patience for this process: it was told to end
"""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from studies.database import beginning, shown
from studies.errors import OutOfReachError
from studies.reading import said

RETRY_SECONDS = 300.0
DRAIN_SECONDS = 5.0  # the same for a process that was told to end: less than its grace period
SAID_AFTER_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

_logger = logging.getLogger(__name__)

# https://www.postgresql.org/docs/current/errcodes-appendix.html; class 08 beside them
_STATES = {
    "25P03",  # idle_in_transaction_session_timeout: this process was paused
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "53300",  # too_many_connections
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
}
_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6
# libpq gives no code for a connection that it could not open; these do not go away.
_REFUSED = ("password", "authentication", "does not exist", "permission", "pg_hba", "not permitted")

T = TypeVar("T")
P = ParamSpec("P")


class HasEngine(Protocol):
    """A study DB, or an engine itself."""

    @property
    def engine(self) -> Engine: ...


S = TypeVar("S", bound=HasEngine)


def transaction(
    engine: Engine,
    body: Callable[[Connection], T],
    landed: Callable[[Connection, T], bool] | None = None,
    *,
    durable: bool = False,
    single: bool = False,
) -> T:
    """Runs `body` in a transaction that writes, again as long as the database is lost.

    A connection that is lost during COMMIT leaves open whether it has arrived. `landed` is then
    asked first, in the next transaction, with what `body` had returned: True ends it with that.
    A `body` without it changes nothing the second time. `durable`, `single`: see
    `database.beginning`.

    Raises:
        OutOfReachError: the database was lost for too long.
    """
    before: list[T] = []

    def once() -> T:
        with beginning(engine, durable=durable, single=single) as connection:
            if landed is not None and before and landed(connection, before[0]):
                return before[0]
            result = body(connection)
            before[:] = [result]
        return result

    return again(engine, once)


def retried(call: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A function of a study DB, called again as long as the database is lost."""

    @functools.wraps(call)
    def calls(first: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return again(first.engine, lambda: call(first, *args, **kwargs))

    return calls


def again(engine: Engine, call: Callable[[], T]) -> T:
    """Returns what `call` does; calls it again as long as the database is lost.

    Raises:
        OutOfReachError: the database was lost for too long.
    """
    began, pause = None, FIRST_PAUSE_SECONDS
    while True:
        try:
            result = call()
        except (DBAPIError, StorageInternalError) as error:
            cause = lost(error)
            if cause is None:
                raise
            began = began or time.monotonic()
            seconds = random.uniform(0.5, 1.0) * pause
            _outages.wait(shown(engine.url), said(cause, engine.url), began, seconds, error)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            _outages.end(engine)
            return result


def lost(error: BaseException) -> DBAPIError | None:
    """The driver's error, when the same transaction may succeed later; None for any other."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError):
        return None
    if cause.connection_invalidated:
        return cause
    busy = getattr(cause.orig, "sqlite_errorcode", None)
    if busy is not None:  # the low byte: the others say more exactly which
        return cause if busy & 0xFF in (_SQLITE_BUSY, _SQLITE_LOCKED) else None
    state = getattr(cause.orig, "sqlstate", None) or getattr(cause.orig, "pgcode", None)
    if state is not None:
        return cause if state in _STATES or state.startswith("08") else None
    if type(cause.orig).__module__.startswith("psycopg") and _is_operational(cause):
        text = str(cause.orig).lower()
        return None if any(sign in text for sign in _REFUSED) else cause
    return None


def _is_operational(error: DBAPIError) -> bool:
    return any(kind.__name__ == "OperationalError" for kind in type(error.orig).__mro__)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Lets the calls of this thread in the body wait so long for a lost database; 0: not at all."""
    before = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(before)


@contextmanager
def known() -> Iterator[None]:
    """Lets this thread wait in the body for a study DB that it opens, as for one that is lost.

    Else one that does not answer is taken for a mistake in its URL.
    """
    before = _known.set(True)
    try:
        yield
    finally:
        _known.reset(before)


def opening(engine: Engine, call: Callable[[], T]) -> T:
    """What `call` returns, which opens a study DB; it is called again only if that is `known`."""
    return again(engine, call) if _known.get() else call()


def hurry() -> None:
    """This process was told to end: it waits no longer than DRAIN_SECONDS from now on."""
    _outages.told = time.monotonic()


def take_time() -> None:
    """Ends what `hurry` began."""
    _outages.told = None


_patience: ContextVar[float] = ContextVar("patience", default=RETRY_SECONDS)
_known: ContextVar[bool] = ContextVar("known", default=False)


class _Outages:
    """Which databases are lost, for all threads of this process: each is said once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._said: set[str] = set()
        self.told: float | None = None

    def wait(self, where: str, why: str, began: float, pause: float, error: Exception) -> None:
        """Pauses before the next try of a call that has failed since `began`.

        Raises:
            OutOfReachError: its patience, or everybody's, has ended.
        """
        with self._lock:
            now = time.monotonic()
            since = self._began.setdefault(where, now)
            if now - since >= SAID_AFTER_SECONDS and where not in self._said:
                self._said.add(where)
                _logger.warning(
                    f"study DB {where} is out of reach ({why}); "
                    f"trying again for up to {RETRY_SECONDS:.0f} s"
                )
        end = since + RETRY_SECONDS
        if self.told is not None:
            end = min(end, max(since, self.told) + DRAIN_SECONDS)
        if now + pause > min(end, began + _patience.get()):
            raise OutOfReachError(
                f"study DB {where} has been out of reach for {now - since:.0f} s ({why}). "
                "Nothing that had finished is lost, and what was running will be taken over: "
                "run the same command again when the database answers"
            ) from error
        time.sleep(pause)

    def end(self, engine: Engine) -> None:
        """The database has answered."""
        if not self._began:
            return
        where = shown(engine.url)
        with self._lock:
            since = self._began.pop(where, None)
            if since is not None and where in self._said:
                self._said.remove(where)
                _logger.warning(f"study DB {where} is back after {time.monotonic() - since:.0f} s")


_outages = _Outages()
