"""`sweeps run --on ray`: the workers as Ray actors, each with its own GPUs, all over the cluster.

An actor holds a `Place`: its worker is a process of its own on that node, which the actor starts
again when it dies. When a node dies, Ray starts its actors again elsewhere (and the autoscaler, if
there is one, brings a node for those that find no room); the study DB gives what they held to
others. Ray carries no trial and no result.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from studies import SweeplaneError, UserError
from sweeps.place import MOST_DEATHS, Place

TEND_SECONDS = 0.2  # between two calls of one actor
PLACED_SECONDS = 10.0  # until it is said that an actor waits for room
LOST_SECONDS = 1.0  # before an actor that does not answer is asked again, and more each time
DRAINED_SECONDS = 5.0  # for the answer of an actor that drains; without one its node is gone


class Seat:
    """The actor: a `Place` on the node where Ray has put it."""

    def __init__(
        self, name: str, arguments: Sequence[str], own: dict[str, str], folder: str, out: int
    ) -> None:
        if Path(folder).is_dir():  # relative paths mean the same as for `sweeps run`
            os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray blocks it
        command = [sys.executable, *arguments]
        self._place = Place(name, command, {"OMP_NUM_THREADS": "1", **os.environ, **own}, out)

    def tend(self, *, drain: bool) -> dict[str, Any]:
        """Tend the place; return what has become of it since."""
        place = self._place
        place.tend(drain=drain)
        told = {"over": place.over, "said": place.said, "warnings": place.warnings}
        place.said, place.warnings = "", []
        error = place.error
        mistake = isinstance(error, UserError)
        return {**told, "error": None if error is None else str(error), "mistake": mistake}

    def send(self, number: int) -> None:
        """Send a signal to the worker's process."""
        self._place.send(signal.Signals(number))


class RayPlace:
    """One of the actors, with the face of a `Place`; no call of it waits for the cluster."""

    def __init__(self, ray: Any, name: str, actor: Any) -> None:
        self.name, self._ray, self._actor = name, ray, actor
        self.over, self.said = False, ""
        self.error: SweeplaneError | None = None
        self.warnings: list[str] = []
        self._call: Any = None
        self._asked = self._next = 0.0
        self._lost = 0  # calls in a row that nobody answered
        self._known = False  # has it been said that it waits for room?

    def tend(self, *, drain: bool) -> None:
        """Take up the actor's last answer, and ask it again."""
        now = time.monotonic()
        if self.over or now < self._next:
            return
        if self._call is None:
            self._call, self._asked = self._actor.tend.remote(drain=drain), now
        elif self._ray.wait([self._call], timeout=0)[0]:
            call, self._call = self._call, None
            self._next = now + TEND_SECONDS
            self._take_up(call, drain=drain)
        elif drain and now - self._asked > DRAINED_SECONDS:
            self.over = True
        elif now - self._asked > PLACED_SECONDS and not self._known:
            self._known = True
            self.said = f"{self.name} waits for room in the Ray cluster"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker's process."""
        self._actor.send.remote(int(number))

    def end(self) -> None:
        """End the actor for good; its worker sees the end of its standard input, and drains."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)

    def _take_up(self, call: Any, *, drain: bool) -> None:
        errors = self._ray.exceptions
        try:
            told = self._ray.get(call)
        except errors.ActorUnavailableError:
            if not self._known:
                self._known = True
                self.said = (
                    f"{self.name} does not answer; Ray restarts it elsewhere if its node died"
                )
            self.over = drain
            self._next = time.monotonic() + LOST_SECONDS
            return
        except errors.RayError as error:
            self._lose(error, drain=drain)
            return
        self._lost, self._known = 0, False
        self.over, self.said, self.warnings = told["over"], told["said"], told["warnings"]
        if told["error"] is not None:
            self.error = (UserError if told["mistake"] else SweeplaneError)(told["error"])

    def _lose(self, error: Exception, *, drain: bool) -> None:
        self._lost += 1
        self._next = time.monotonic() + self._lost * LOST_SECONDS
        self.over = drain
        self.said = f"{self.name} was lost with its node; Ray starts it again elsewhere"
        if self._lost >= MOST_DEATHS and not drain:
            self.over = True
            cause = str(error).strip().splitlines()[-1]
            self.error = SweeplaneError(
                f"{self.name} cannot be started by Ray, {self._lost} times in a row: {cause}. "
                "Sweeplane has to be installed on every node"
            )


@contextmanager
def on_ray(
    address: str | None, url: str, command: Sequence[str], count: int, gpus: float, *, logs: bool
) -> Iterator[list[RayPlace]]:
    """Start an actor a worker, spread over the cluster at `address`; end them at the end.

    None: that of RAY_ADDRESS, else a local Ray of this process alone. `command` is that of
    `led_command`. `logs`: the workers' JSON lines go to Ray's own log files.

    Raises:
        UserError: Ray is not installed or not there, or the nodes cannot share the study DB.
    """
    ray = _connected(address)
    try:
        _check_shared(ray, url)
        device = "cuda" if gpus else "cpu"
        arguments = [*command[1:], "--device", device]
        actors = ray.remote(Seat).options(
            num_cpus=1, num_gpus=gpus, max_restarts=-1, scheduling_strategy="SPREAD"
        )
        own, out = {"SWEEPS_STORAGE": url}, 1 if logs else DEVNULL
        names = [f"worker {number}" for number in range(1, count + 1)]
        places = [
            RayPlace(ray, name, actors.remote(name, arguments, own, str(Path.cwd()), out))
            for name in names
        ]
        try:
            yield places
        finally:
            for place in places:
                place.end()
    finally:
        ray.shutdown()


def _connected(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("--on ray needs Ray: pip install 'sweeplane[ray]'") from None
    try:
        ray.init(address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise UserError(
            f"no Ray cluster answers at {address or 'RAY_ADDRESS'}: {cause}. Start one with `ray "
            "start --head`, give its --address, or leave --address out for a local one"
        ) from error
    return ray


def _check_shared(ray: Any, url: str) -> None:
    hosts = sorted({node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]})
    if url.startswith("sqlite") and len(hosts) > 1:
        raise UserError(
            f"the Ray cluster has {len(hosts)} machines ({', '.join(hosts[:4])}), and a SQLite "
            "file is for one: a network's file systems do not lock it. Give --storage "
            "postgresql+psycopg://... that all of them reach"
        )
