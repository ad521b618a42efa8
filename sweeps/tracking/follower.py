"""Passes to MLflow on a background thread, while the sweep trains."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from studies import SweeplaneError, mask_passwords
from sweeps.tracking import store

if TYPE_CHECKING:
    from sqlalchemy import URL

    from studies import StudyStorage
    from sweeps.tracking.exporter import Exporter, Progress

PASS_SECONDS = 1.0  # between two passes, so that reports in between go together
PASS_SHARE = 0.1  # of the time, at most
REFRESH_SECONDS = 10.0  # between two summaries of the parent run
LONGEST_PAUSE_SECONDS = 30.0  # between two passes, also while the store is out of reach
SAID_AFTER_SECONDS = 1.5  # of waiting for the last pass
LOOK_SECONDS = 0.2


class Follower:
    """Copies what is new in a sweep to MLflow; nothing of it waits, raises or blocks.

    While the sweep trains, passes are rare and large; what is left, the last one copies.
    `wake` says that there may be something new; `close` makes the last pass, so the sweep's
    status must be in the study DB before. An outage gives one call of `on_warning`, and the
    passes go on in growing intervals until the store answers; what is then still missing, the
    next run's `Follower` or `sync` copies.
    """

    def __init__(
        self,
        storage_url: str | URL,
        study_name: str,
        tracking_uri: str,
        *,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        self._url = (
            storage_url
            if isinstance(storage_url, str)
            else storage_url.render_as_string(hide_password=False)
        )
        self._name, self._uri = study_name, tracking_uri
        self._warn = on_warning or _to_stderr
        self._woken, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-follower", daemon=True)
        self._exporter: Exporter | None = None
        self._failures = 0
        self._refreshed = 0.0
        self._pause = PASS_SECONDS
        self._copied = 0, 0  # trials of this pass: done, to do

    def start(self) -> None:
        """Start the thread, whose first pass comes at once."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something new; returns at once."""
        self._woken.set()

    def close(self, patience: float = 60.0, on_progress: Progress | None = None) -> bool:
        """Make the last pass and end the thread.

        Args:
            patience: seconds without any progress after which it is given up.
            on_progress: called now and then, when it takes longer, with the trials that are done
                and those there were to do.

        Returns:
            Whether MLflow has everything; when not, the warning said so.
        """
        if not self._thread.is_alive():
            return False
        self._closing.set()
        self._woken.set()
        self._join(patience, on_progress)
        if self._thread.is_alive():
            self._warn(
                f"MLflow at {mask_passwords(self._uri)} took nothing for {patience:.0f} s; the "
                "study DB has everything, and the next `sweeps run` copies it."
            )
        return not self._thread.is_alive() and self._failures == 0

    def _join(self, patience: float, on_progress: Progress | None) -> None:
        begun = heard = time.monotonic()
        seen = self._copied
        while self._thread.is_alive() and time.monotonic() - heard < patience:
            self._thread.join(min(LOOK_SECONDS, patience))
            if self._copied == seen:
                continue
            seen, heard = self._copied, time.monotonic()
            if on_progress and heard - begun > SAID_AFTER_SECONDS:
                on_progress(*seen)

    def _run(self) -> None:
        from studies import open_storage

        try:
            with open_storage(self._url, create=False) as storage:
                while not self._passed_last(storage):
                    self._rest()
        except SweeplaneError as error:
            self._failures += 1
            self._warn(f"MLflow is not followed: {error}")
        except Exception as error:  # whatever it is, `close` must not say that all is well
            self._failures += 1
            self._warn(f"MLflow is not followed: {store.masked(_named(error), self._uri)}")

    def _passed_last(self, storage: StudyStorage) -> bool:
        # Before the pass, which then has all that was there before; and in this order, since a
        # `close` in between must not wait for the next `wake`.
        self._woken.clear()
        last = self._closing.is_set()
        self._pass(storage, last=last)
        return last

    def _rest(self) -> None:
        if self._failures:
            pause = PASS_SECONDS * 2.0 ** min(self._failures, 10)
            self._closing.wait(min(pause, LONGEST_PAUSE_SECONDS))
        else:
            self._closing.wait(self._pause)
            self._woken.wait()

    def _pass(self, storage: StudyStorage, *, last: bool) -> None:
        store.load_mlflow()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        from sweeps.tracking.exporter import Exporter

        refresh = last or time.monotonic() - self._refreshed >= REFRESH_SECONDS
        try:
            if self._exporter is None:
                self._exporter = Exporter(storage, self._name, self._uri)
            self._exporter.open()
            begun = time.monotonic()
            self._exporter.run(refresh=refresh, on_progress=self._count)
            self._pause = pause_after(time.monotonic() - begun)
        except SweeplaneError:
            raise
        except Exception as error:
            foreseen = isinstance(error, MlflowException | SQLAlchemyError | OSError)
            said = str(error).strip() if foreseen else ""
            self._exporter = None
            if self._failures == 0:
                self._warn(self._outage(said or _named(error)))
            self._failures += 1
            return
        self._failures = 0
        if refresh:
            self._refreshed = time.monotonic()

    def _count(self, done: int, total: int) -> None:
        self._copied = done, total

    def _outage(self, said: str) -> str:
        cause = store.masked(said, self._uri).splitlines()[0][:200]
        where = mask_passwords(self._uri)
        return (
            f"MLflow at {where} does not take the results: {cause}. Training goes on, and the "
            "study DB has them all; MLflow catches up when it answers again."
        )


def pause_after(seconds: float) -> float:
    """Return how long to wait after a pass that took `seconds`: the longer it was, the longer."""
    return min(max(seconds / PASS_SHARE, PASS_SECONDS), LONGEST_PAUSE_SECONDS)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
