"""MLflow's own UI on this machine: the real `mlflow server` as a child process.

A database is served by a child in a process group of its own, which ends with the `Server`; a
tracking server that runs already is only pointed to.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import IO, Self

import click

from studies import SweeplaneError, UserError, mask_passwords
from sweeps.tracking import store

START_SECONDS = 90.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.1


class Server:
    """MLflow's server on a database: `with Server(uri) as server: print(server.address)`.

    `port` 0, or one that is taken, becomes a free one; `port_was_taken` says so.

    Raises:
        UserError: the URI cannot be MLflow's.
        SweeplaneError: the server ended while it started, or took more than 90 s.
    """

    def __init__(self, tracking_uri: str, *, host: str = "127.0.0.1", port: int = 5000) -> None:
        store.check_uri(tracking_uri)
        self.host = host
        self.port = _free_port(host, port)
        self.port_was_taken = port not in (0, self.port)
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            _command(store.absolute(tracking_uri), host, self.port),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
        try:
            self._wait_for_health()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host = _reachable(self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def start_page(self) -> str:
        """Where the newest experiment's training runs are, or the list of experiments.

        MLflow's own start page is for language models and does not lead to training runs.
        """
        query = {"max_results": 2, "order_by": ["last_update_time DESC"]}
        with _connection(self.host, self.port) as connection:
            path = "/api/2.0/mlflow/experiments/search"
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(query), headers)
            found = json.loads(connection.getresponse().read()).get("experiments", [])
        ids = [one["experiment_id"] for one in found if one["experiment_id"] != "0"]
        page = f"/{ids[0]}/runs" if ids else ""
        return f"{self.address}/#/experiments{page}?workflowType=machine_learning"

    def wait(self) -> None:
        """Wait until the server ends by itself.

        Raises:
            SweeplaneError: it did.
        """
        code = self._process.wait()
        raise SweeplaneError(f"MLflow's server ended with exit code {code}: {self._last_lines()}")

    def close(self) -> None:
        """End the server and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The group, not the child alone, and also after the child: `mlflow server` starts
            # uvicorn, which would keep the port.
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            if self._ended_within(STOP_SECONDS):
                break
        self._process.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._process.poll()  # reaps the child, which would count as alive otherwise
            try:
                os.killpg(self._process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _wait_for_health(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _is_healthy(self.host, self.port):
            if self._process.poll() is not None:
                raise SweeplaneError(f"MLflow's server did not start: {self._last_lines()}")
            if time.monotonic() > deadline:
                raise SweeplaneError(
                    f"MLflow's server did not answer within {START_SECONDS:.0f} s: "
                    f"{self._last_lines()}"
                )
            time.sleep(_POLL_SECONDS)

    def _last_lines(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "it printed nothing"


def serve(
    tracking_uri: str, *, host: str = "127.0.0.1", port: int = 5000, open_browser: bool = False
) -> None:
    """Serve MLflow's UI until Ctrl-C or SIGTERM, and print its address.

    An http(s) tracking URI is a server already: its address is printed, and that is all.

    Raises:
        UserError, SweeplaneError: see `Server`.
    """
    store.check_uri(tracking_uri)
    if store.is_server(tracking_uri):
        click.echo(f"MLflow's UI: {mask_passwords(tracking_uri)}")
        if open_browser:
            webbrowser.open(tracking_uri)
        return
    click.echo(f"Starting MLflow's UI on {mask_passwords(tracking_uri)} ...", err=True)
    with _interruptible(), Server(tracking_uri, host=host, port=port) as server:
        if server.port_was_taken:
            click.echo(f"Port {port} is taken, so it is on {server.port}.", err=True)
        page = server.start_page()
        click.echo(f"MLflow's UI: {page}  (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(page)
        server.wait()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block, also where SIGINT came ignored; neither is an error."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command(tracking_uri: str, host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    folder = store.artifact_folder(tracking_uri)
    if folder is not None:
        command += ["--artifacts-destination", str(folder)]
    if host not in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::"):
        # MLflow 3 answers only to names that it knows.
        names = (host, f"{host}:{port}", "localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*")
        command += ["--allowed-hosts", ",".join(names)]
    return command


def _environment() -> dict[str, str]:
    store.quiet_environment()
    # Jobs are for evaluating language models; their runner would be two more processes.
    return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _connection(host: str, port: int) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(_reachable(host), port, timeout=10))


def _is_healthy(host: str, port: int) -> bool:
    with _connection(host, port) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _free_port(host: str, port: int) -> int:
    """Return the port if it is free, else any free one.

    Raises:
        UserError: this machine has no such address, or the port needs another user's rights.
    """
    try:
        return _bound(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UserError(
                f"--host {host} --port {port}: {error.strerror or error}. Give an address of this "
                "machine and a port above 1023."
            ) from error
        return _bound(host, 0)


def _bound(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
