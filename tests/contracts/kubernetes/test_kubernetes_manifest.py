"""The Kubernetes manifest of the docs, by Kubernetes' own schema and by our own options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from studies.timing import GRACE_SECONDS
from sweeps.cli.worker import worker

FILE = Path(__file__).parents[3] / "docs" / "kubernetes" / "workers.yaml"


def resources() -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(FILE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("kind", ["Secret", "PersistentVolumeClaim", "Job"])
def test_it_has_kubernetes_own_form(kind: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    (resource,) = [each for each in resources() if each["kind"] == kind]
    validator.validate(resource, validator.latest_version(), strict=True)


def test_its_worker_starts_with_options_that_there_are() -> None:
    (job,) = [each for each in resources() if each["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, *arguments = container["args"]
    assert command == "worker"
    given = worker.make_context("worker", arguments).params
    assert (given["study"], given["wait"], given["log"]) == ("digits", True, "json")
    assert GRACE_SECONDS < given["grace"] < pod["terminationGracePeriodSeconds"]
    assert job["spec"]["completionMode"] == "Indexed"
    names = {entry["name"] for entry in container["env"]}
    assert names <= {option.envvar for option in worker.params if hasattr(option, "envvar")}
