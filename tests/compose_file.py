"""docker-compose.yml as its tests read it: with the variables' defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def text() -> str:
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def services() -> dict[str, dict[str, Any]]:
    """The services by name; every variable has its default."""
    filled = VARIABLE.sub(lambda found: found[2], text())
    found: dict[str, dict[str, Any]] = YAML(typ="safe").load(filled)["services"]
    return found


def command(service: dict[str, Any]) -> list[str]:
    """What a service runs, by the image's entrypoint where it has none of its own."""
    return [*service.get("entrypoint", ["sweeps"]), *service.get("command", [])]
