"""What results depend on beside the sweep file: the code's version, the packages, the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeps.device import name_of

PACKAGES = ("sweeplane", "torch", "optuna", "sqlalchemy", "mlflow", "numpy", "scikit-learn")


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit checked out in `folder` and whether it has changes; None outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None, None
    return commit, bool(git("status", "--porcelain"))


def environment(device: str) -> dict[str, Any]:
    """Return the versions and the machine that results on `device` depend on."""
    return {
        "device": device,
        "device_name": name_of(device),
        "python": sys.version.split()[0],
        "packages": {package: version(package) for package in PACKAGES},
        "platform": sys.platform,
        "cpus": os.cpu_count(),
    }
