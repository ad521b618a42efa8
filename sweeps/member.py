"""This process's place among the workers of a sweep, kept by a heartbeat."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.exc import SQLAlchemyError

from studies import (
    LEASE_SECONDS,
    Code,
    GoneError,
    Holding,
    OutOfReachError,
    SweeplaneError,
    bury_dead,
    current_order,
    register,
    sign_off,
)
from studies.retrying import at_most, hurry, take_time
from studies.timing import BEATS_PER_LEASE
from sweeps.background import repeating
from sweeps.control import interrupt
from sweeps.surroundings import environment, git_state

if TYPE_CHECKING:
    from collections.abc import Collection

    from studies import Order
    from studies.schema import Status
    from sweeps.launch import OpenSweep


LEAVE_SECONDS = 0.2  # for a study DB that is out of reach, when the process must end


class Member:
    """A row of `workers` while the body runs: `with Member(...) as me: me.beating(...)`.

    `leads`: this is `sweeps run`, of which there is one at a time. `lanes` is 0 for a process that
    trains nothing itself. `ending` is how the sweep stands if this is the last one out.
    """

    def __init__(
        self,
        sweep: OpenSweep,
        *,
        device: str,
        lanes: int = 1,
        leads: bool = False,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._sweep, self._device, self._lanes, self._leads = sweep, device, lanes, leads
        self._lease_seconds = lease_seconds
        self.ending: Status = "drained"

    def __enter__(self) -> Self:
        """Register.

        Raises:
            UserError: another live process leads, and this one was to; the sweep was stopped, and
                this one does not lead.
        """
        storage = self._sweep.storage
        code = Code(*git_state(self._sweep.spec.path.parent), environment(self._device))
        me = register(
            storage,
            self._sweep.study_id,
            device=self._device,
            lanes=self._lanes,
            lease_seconds=self._lease_seconds,
            leads=self._leads,
            code=code,
        )
        self._stack = ExitStack()
        self._stack.callback(self._sign_off)
        self.holding = Holding(storage, me)
        self._order = me.order
        self._clock = (me.elapsed_seconds, time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def beating(
        self,
        lose: Callable[[Collection[int]], None],
        drain: Callable[[], None],
        changed: Callable[[], None],
        obey: Callable[[Order], None],
        numbers: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        """Say from now on that this process lives, until it signs off.

        `lose` gets the ids of trials that another worker holds by now; `drain` is called when this
        process should end; `changed` at each beat, since others may have written something; `obey`
        now and at each beat, with what the study says. `numbers` is what the others may read of
        this process, as of each beat.
        """
        obey(self._order)

        def beat() -> bool:
            if not self._beat(lose, drain, obey, numbers()):
                return False
            changed()
            return True

        every = self._lease_seconds / BEATS_PER_LEASE
        self._stack.enter_context(repeating(beat, every, "heartbeat"))

    def elapsed(self) -> float:
        """Return the sweep's wall clock: that of the study DB, and the time since its last word."""
        seconds, then = self._clock
        if self._order.control == "pause":
            return seconds
        return seconds + min(time.monotonic() - then, self._lease_seconds)

    @contextmanager
    def present(self) -> Iterator[None]:
        """Run the body; where it failed since the study was deleted, say that instead.

        Raises:
            SweeplaneError: the study was deleted.
        """
        try:
            yield
        except Exception as error:
            if not self._deleted():
                raise
            raise SweeplaneError(
                f"study '{self._sweep.study.study_name}' was deleted while this process worked on "
                "it, so nothing more of it is written. To begin it anew: sweeps run FILE"
            ) from error

    def order(self) -> Order:
        """Return what the study says by now, which may be newer than the last heartbeat.

        Raises:
            GoneError: the study was deleted.
        """
        me = self.holding.worker
        return current_order(self._sweep.storage, me.study_id, me.worker_id)

    def last_order(self) -> Order:
        """Return what the study says when this process ends.

        Raises:
            SweeplaneError: Sweeplane itself has stopped it, for the reason that this says.
            GoneError: the study was deleted.
        """
        order = self.order()
        if order.reason is not None:
            raise SweeplaneError(order.reason)
        return order

    def leave(self) -> None:
        """Sign off at once, from any thread: the process ends next, whatever it is doing."""
        with suppress(SQLAlchemyError, OutOfReachError), at_most(LEAVE_SECONDS):
            self._sign_off()

    def _deleted(self) -> bool:
        try:
            self.order()
        except GoneError:
            return True
        except SQLAlchemyError:  # who knows; what failed first says more
            pass
        return False

    def _sign_off(self) -> None:
        with suppress(GoneError):  # then nothing is left to sign off from
            sign_off(self._sweep.storage, self.holding.worker, self.ending)

    def _beat(
        self,
        lose: Callable[[Collection[int]], None],
        drain: Callable[[], None],
        obey: Callable[[Order], None],
        numbers: Mapping[str, Any] | None,
    ) -> bool:
        try:
            renewed = self.holding.renew(numbers)
        except (SQLAlchemyError, OutOfReachError):
            return True  # the database is out of reach; a trial lost meanwhile is refused later
        except GoneError:
            lose([*self.holding.tokens])
            drain()
            interrupt()
            return False
        self._order = renewed.order
        self._clock = (renewed.elapsed_seconds, time.monotonic())
        obey(renewed.order)
        lose(renewed.lost)
        if renewed.lost:
            interrupt()
        if self._leads and not renewed.leads:
            drain()  # it was paused, and another `sweeps run` leads now
        with suppress(SQLAlchemyError, OutOfReachError, GoneError):  # the next beat tries again
            bury_dead(self._sweep.storage, self._sweep.study_id)
        return True


@contextmanager
def draining(drain: Callable[[], object], again: Callable[[int], None]) -> Iterator[None]:
    """Drain on the first SIGINT or SIGTERM, whatever handlers the process inherited.

    A second one calls `again` with its number and ends the process at once.
    """

    def first(_number: int, _frame: FrameType | None) -> None:
        hurry()
        drain()
        for name in before:
            signal.signal(name, second)

    def second(number: int, _frame: FrameType | None) -> None:
        again(number)
        # Without cleaning up: an exception may be lost, in a destructor for one.
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the live table has hidden the cursor
        os._exit(128 + number)

    take_time()
    before = {name: signal.signal(name, first) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
