"""An environment for each of the others: PyPI's packages, at the versions of constraints.txt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
TORCH = "torch==2.13.0"  # as `make constraints` names it, whose pins have no build tag
_VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"python": platform.python_version()} | {p: version(p) for p in sys.argv[1:]}))
"""


def prepare(folder: Path, packages: Sequence[str]) -> Path:
    """Return the Python of a virtual environment with these packages, which is made if missing.

    Raises:
        CalledProcessError: pip could not install them; it has said why.
    """
    python = folder / "bin" / "python"
    wanted = "\n".join([TORCH, *packages, CONSTRAINTS.read_text()])
    mark = folder / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        print(f"installing {', '.join(packages)} in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", CONSTRAINTS, TORCH, *packages], check=True)
        mark.write_text(wanted)
    return python


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of packages in an environment."""
    names = [package.partition("[")[0] for package in ("torch", *packages)]
    told = subprocess.run(
        [python, "-c", _VERSIONS, *names], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(told.stdout)
    return found
