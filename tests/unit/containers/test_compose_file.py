"""What docker-compose.yml, the Dockerfile and .env.example promise, as far as it can be read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.compose_file import ROOT, VARIABLE, command, services, text

SERVICES = services()
LISTENING = {"mlflow", "dashboard"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert {"mem_limit", "pids_limit", "tmpfs", "logging"} <= service.keys()
    assert not {"privileged", "network_mode", "pid", "devices"} & service.keys()
    if name != "db":  # whose entrypoint begins as root
        assert "cap_add" not in service
        assert "user" not in service  # the image's: not root
        assert service["secrets"] == ["database_services"]


def test_ports_are_on_the_loopback_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports.keys() == LISTENING
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)


def test_no_password_is_in_an_environment_or_a_command() -> None:
    for service in SERVICES.values():
        given = [*map(str, service.get("environment", {}).values()), *command(service)]
        assert not [word for word in given if re.search(r"://[^/]*:[^/]*@|password=", word)]
    assert SERVICES["db"]["environment"]["POSTGRES_PASSWORD_FILE"].startswith("/run/secrets/")


def test_what_listens_has_a_healthcheck_and_others_wait_for_it() -> None:
    assert {n for n, service in SERVICES.items() if "healthcheck" in service} == {"db", *LISTENING}
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            once = needed.startswith("migrate")
            wanted = "service_completed_successfully" if once else "service_healthy"
            assert how == {"condition": wanted}, (name, needed)


def test_the_example_names_every_variable_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    used = dict(VARIABLE.findall(text()))
    assert example.pop("COMPOSE_PROJECT_NAME") == "sweeplane"
    assert example == used


def test_gpus_are_for_the_services_that_train() -> None:
    override = YAML(typ="safe").load(ROOT / "docker-compose.gpu.yml")["services"]
    training = {n for n, s in SERVICES.items() if "SWEEPS_CHECKPOINTS" in s.get("environment", {})}
    assert override.keys() == training == {"worker", "sweeps"}
    for service in override.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_the_image_is_built_from_the_code_alone_and_is_not_roots() -> None:
    ignored, *kept = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith(("#", "**/"))
    ]
    assert ignored == "*"
    assert all((ROOT / name.removeprefix("!")).exists() for name in kept)
    assert not {"!.env", "!secrets", "!.git", "!."} & set(kept)
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (image,) = [line for line in lines if line.startswith("ARG BASE_IMAGE=")]
    assert image.partition("=")[2] == "python:3.11-slim-bookworm"
    last = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER 10001:10001" in last
    assert 'ENTRYPOINT ["sweeps"]' in last


def test_secrets_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    script, folder = ROOT / "containers" / "make-secrets", tmp_path / "secrets"
    subprocess.run([script, folder], check=True)
    assert folder.stat().st_mode & 0o777 == 0o700
    password = (folder / "database_password").read_text()
    assert re.fullmatch("[0-9a-f]{48}", password)
    connections = (folder / "database_services").read_text()
    assert connections.count(f"password={password}\n") == 2
    assert re.findall(r"^\[(\w+)\]$", connections, re.M) == ["sweeps", "mlflow"]
    again = subprocess.run([script, folder], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert (folder / "database_password").read_text() == password
