"""The services of docker-compose.yml under a project's name of their own, and what Docker says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PROJECT = "sweeplane-check"
IMAGE = f"{PROJECT}:latest"


def output(*command: str, seconds: float = 600.0) -> str:
    """Run a command; return all that it printed.

    Raises:
        SystemExit: it failed; the message has its last lines.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
    return done.stdout


class Stack:
    """`with Stack(folder, study) as stack:`; at its end nothing of it is left.

    `folder` gets the secrets; the sweep files are in it too.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self.port, self.dashboard_port = _free_port(), _free_port()
        self.secrets = folder / "secrets"
        self.password = ""
        self._study, self._folder = study, folder

    def __enter__(self) -> Self:
        os.environ.update(
            COMPOSE_PROJECT_NAME=PROJECT,
            SWEEPLANE_IMAGE=IMAGE,
            STUDY=self._study,
            SWEEP_FILES=str(self._folder / "sweeps"),
            SECRETS=str(self.secrets),
            MLFLOW_PORT=str(self.port),
            DASHBOARD_PORT=str(self.dashboard_port),
            CHECKPOINT_EVERY="5",
        )
        self.down()  # what an earlier run that was killed has left
        output("containers/make-secrets", str(self.secrets))
        self.password = (self.secrets / "database_password").read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        subprocess.run(["docker", "rmi", "--force", IMAGE], capture_output=True, check=False)

    def down(self) -> None:
        """End and remove the containers, their network and their volumes."""
        compose = ("docker-compose", "down", "--volumes", "--remove-orphans", "--timeout", "15")
        subprocess.run(compose, cwd=ROOT, capture_output=True, check=False)

    def containers(self, service: str = "") -> list[str]:
        """The ids of the containers of a service, of all services by default; also ended ones."""
        found = f"label=com.docker.compose.project={PROJECT}"
        filters = ["--filter", found]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        return output("docker", "ps", "--all", "--no-trunc", "--quiet", *filters).split()

    def inspected(self, containers: Sequence[str]) -> list[dict[str, Any]]:
        """What `docker inspect` says of containers."""
        found: list[dict[str, Any]] = json.loads(output("docker", "inspect", *containers))
        return found

    def storage_url(self) -> str:
        """The study DB as this machine reaches it; a restart may change its address."""
        (db,) = self.inspected(self.containers("db"))
        (network,) = db["NetworkSettings"]["Networks"].values()
        return f"postgresql+psycopg://sweeps:{self.password}@{network['IPAddress']}/sweeps"

    def healthy(self, service: str, seconds: float = 180.0) -> float:
        """Wait until a service is; return how long that took."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            (container,) = self.inspected(self.containers(service))
            if container["State"]["Health"]["Status"] == "healthy":
                return time.monotonic() - begun
            time.sleep(0.2)
        raise SystemExit(f"{service} is not healthy after {seconds:.0f} s")


def compose(*arguments: str) -> str:
    """Run docker-compose with the project's variables; return what it printed."""
    return output("docker-compose", *arguments)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
