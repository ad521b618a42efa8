"""The trial's own code as an engine runs it: its errors, told from the sweep's, and its time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict, TypeVar

import torch

from sweeps.engines.base import State

_T = TypeVar("_T")


class TrialError(Exception):
    """Something that the user's model, data, loss or function raised; the sweep goes on."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Failure(TypedDict):
    """What an `Outcome` says of an error."""

    error: str
    traceback: str


def failure(cause: BaseException) -> Failure:
    """Return what is kept of an error that ended a trial."""
    return {
        "error": traceback.format_exception_only(cause)[-1].strip(),
        "traceback": "".join(traceback.format_exception(cause)),
    }


class Used(TypedDict):
    """What a trial has taken, as `State` and `Outcome` name it."""

    seconds: float
    device_seconds: float
    peak_memory: int | None


class Meter:
    """Runs the trial's own code: tells its errors from the sweep's, and measures what it takes.

    What it took until its `start` counts too.
    """

    def __init__(self, device: torch.device, start: State | None) -> None:
        self._seconds = start.seconds if start else 0.0
        self._since: float | None = None  # when the code that runs now began or went on
        self._device, self._began = device, time.perf_counter()
        self._before = start.device_seconds if start else 0.0
        self._peak = start.peak_memory if start else None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @property
    def seconds(self) -> float:
        """The seconds of the trial's own code so far."""
        now = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._seconds + now

    def __call__(self, call: Callable[[], _T]) -> _T:
        """Run a part of the trial's code.

        Raises:
            TrialError: it raised something, or would have ended the process.
        """
        self._since = time.perf_counter()
        try:
            return call()
        except (Exception, SystemExit) as error:
            raise TrialError(error) from error
        finally:
            self._stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within: code of the sweep, which the trial's may call; the time is not the trial's."""
        running = self._since is not None
        self._stop()
        try:
            yield
        finally:
            self._since = time.perf_counter() if running else None

    def used(self) -> Used:
        """Return what the trial has taken so far, as `State` and `Outcome` name it."""
        peak = self._peak
        if self._device.type == "cuda":
            peak = max(peak or 0, torch.cuda.max_memory_allocated(self._device))
        device_seconds = self._before + time.perf_counter() - self._began
        return {"seconds": self.seconds, "device_seconds": device_seconds, "peak_memory": peak}

    def _stop(self) -> None:
        self._seconds, self._since = self.seconds, None
