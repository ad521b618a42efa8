"""The rights that the containers have, and whether anything shows the database's password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.containers.stack import IMAGE, Stack, compose, output

OF_THE_DATABASE = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
CACHES = ("/root/.cache", "/tmp", "/var/lib/apt/lists", "/sweeps", "/checkpoints", "/artifacts")


def cpus() -> int:
    return os.cpu_count() or 1


def postgresql(stack: Stack) -> str:
    (db,) = stack.containers("db")
    return output("docker", "exec", db, "postgres", "--version").strip()


def rights(stack: Stack) -> dict[str, Any]:
    """Count the containers that may do too much, and what the image should not hold."""
    containers = stack.inspected(stack.containers())
    size = int(output("docker", "inspect", "--format", "{{.Size}}", IMAGE))
    return {
        "containers": len(containers),
        "image_megabytes": round(size / 1e6),
        "must_be_0": {
            "containers_with_too_many_rights": sum(not _confined(c) for c in containers),
            "roots_that_can_be_written": sum(_writes(c["Id"]) for c in _running(containers)),
            "ports_beyond_the_loopback": sum(len(_open_ports(c)) for c in containers),
            "caches_in_the_image": len(_left_in_image()),
        },
    }


def shown(stack: Stack, said: str) -> dict[str, int]:
    """Count the places that show the password, and those that could not be read."""
    containers = stack.inspected(stack.containers())
    places = {
        "docker inspect": output("docker", "inspect", *stack.containers()),
        "docker inspect of the image": output("docker", "inspect", IMAGE),
        "docker history": output("docker", "history", "--no-trunc", IMAGE),
        "docker-compose config": compose("config"),
        "logs": compose("logs", "--no-color"),
        "ps": output("ps", "axww", "-o", "args"),
        "environments": _environments(containers),
        "what commands said": said,
        "MLflow": _mlflow(f"http://127.0.0.1:{stack.port}"),
    }
    return {
        "places_with_the_password": sum(stack.password in text for text in places.values()),
        "places_that_were_not_read": sum(not text.strip() for text in places.values()),
    }


def _running(containers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [container for container in containers if container["State"]["Running"]]


def _confined(container: dict[str, Any]) -> bool:
    host, config = container["HostConfig"], container["Config"]
    is_db = config["Labels"]["com.docker.compose.service"] == "db"
    return (
        host["ReadonlyRootfs"]
        and host["CapDrop"] == ["ALL"]
        and set(host["CapAdd"] or ()) == (OF_THE_DATABASE if is_db else set())
        and "no-new-privileges:true" in host["SecurityOpt"]
        and host["Memory"] > 0
        and host["PidsLimit"] > 0
        and host["Init"]
        and (is_db or config["User"] == "10001:10001")
    )


def _open_ports(container: dict[str, Any]) -> list[str]:
    bound = container["HostConfig"]["PortBindings"] or {}
    return [
        one["HostIp"] for ports in bound.values() for one in ports if one["HostIp"] != "127.0.0.1"
    ]


def _writes(container: str) -> bool:
    command = ["docker", "exec", "--user", "0", container, "touch", "/written"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _environments(containers: Sequence[dict[str, Any]]) -> str:
    """The environments of all processes in the containers, which root of this machine can read."""
    found = []
    for container in _running(containers):
        listed = output("docker", "top", container["Id"], "-eo", "pid").split()[1:]
        found += [Path(f"/proc/{pid}/environ").read_text(errors="replace") for pid in listed]
    return "\n".join(found)


def _mlflow(address: str) -> str:
    client = MlflowClient(address)
    every = [experiment.experiment_id for experiment in client.search_experiments()]
    return "\n".join(str(run.data.to_dictionary()) for run in client.search_runs(every))


def _left_in_image() -> list[str]:
    """Files in the image where caches, secrets or results would be."""
    command = ["docker", "run", "--rm", "--user", "0", "--entrypoint", "find", IMAGE]
    done = subprocess.run(
        [*command, *CACHES, "-type", "f", "-not", "-path", "*/lists/lock"],
        capture_output=True,
        text=True,
        check=False,  # a folder may be missing
    )
    return done.stdout.split()
