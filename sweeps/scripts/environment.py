"""The environment of a trial's script: its own place, its GPU, and what W&B's scripts look for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.reporting import ADDRESS

HOOK = Path(__file__).with_name("hook")
"""First in the script's PYTHONPATH: see `hook/sitecustomize.py`."""
_SECRET = ("SWEEPS_STORAGE",)  # its URL may hold a password, and the script needs it not


@dataclass(frozen=True)
class Place:
    """What one trial's script is told about itself; `device` is the worker's: cpu, cuda:1."""

    study: str
    study_id: int
    number: int
    folder: Path
    address: Path
    device: str
    metric: str

    @property
    def sweep_id(self) -> str:
        """The study as W&B's sweeps are named."""
        return f"sweeps{self.study_id}"

    @property
    def run_id(self) -> str:
        """The trial as W&B's runs are named; the same when it is taken over."""
        return f"{self.sweep_id}t{self.number}"

    @property
    def parameters_file(self) -> Path:
        """Where W&B's library finds the parameters, as its agent would write them."""
        return self.folder / "wandb" / f"sweep-{self.sweep_id}" / f"config-{self.run_id}.yaml"


def environment(
    place: Place, own: Mapping[str, str], base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the script's environment: the worker's, the sweep file's `env` (`own`), and the place.

    Output is unbuffered where nobody says otherwise, so that lines of metrics come in time. The
    interpreter that runs the worker is found as the last of all.
    """
    found = {name: value for name, value in base.items() if name not in _SECRET}
    found["PYTHONUNBUFFERED"] = found.get("PYTHONUNBUFFERED", "1")
    path = [found.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    found["PATH"] = os.pathsep.join(path)
    found |= _gpu(place.device, base)
    found |= own
    modules = [str(HOOK), found.get("PYTHONPATH", "")]
    return found | {
        "PYTHONPATH": os.pathsep.join(each for each in modules if each),
        "SWEEPS_STUDY": place.study,
        "SWEEPS_TRIAL": str(place.number),
        "SWEEPS_TRIAL_DIR": str(place.folder),
        "SWEEPS_METRIC": place.metric,
        ADDRESS: str(place.address),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(place.folder),
        "WANDB_SWEEP_ID": place.sweep_id,
        "WANDB_RUN_ID": place.run_id,
        "WANDB_SWEEP_PARAM_PATH": str(place.parameters_file),
    }


def write_parameters(place: Place, params: Mapping[str, Any]) -> None:
    """Write the file of parameters that W&B's library reads, in YAML 1.1 as it does.

    Raises:
        OSError: it cannot be written.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    yaml.default_flow_style = False
    file = place.parameters_file
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        if params:  # W&B's reader wants a mapping, of at least the version
            yaml.dump({name: {"value": value} for name, value in params.items()}, stream)
        else:
            stream.write("wandb_version: 1\n")


def _gpu(device: str, base: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that shows the script its worker's GPU, as its first, and no other."""
    if not device.startswith("cuda"):
        return {}
    index = int(device.partition(":")[2] or 0)
    seen = [each.strip() for each in base.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return {"CUDA_VISIBLE_DEVICES": seen[index] if index < len(seen) else str(index)}
