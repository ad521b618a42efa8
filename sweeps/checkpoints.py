"""Checkpoint files: the state of a trial in one safetensors file, with a JSON header.

    <folder>/<study>-<study id>/<number>-<token>.safetensors
    header:  format   this module's version of the layout
             trial    whose state: study, its time of creation, number, configuration, seeds
             state    the tree of `sweeps.state_tree` around the tensors
             crc32    of the tensors' bytes, in the order of their names

A file is written under another name in the same folder, forced to the disk and renamed: there is
the old one or the new one, never a part. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sweeps.engines.base import State, Trial
from sweeps.keeping import checkpoint_file, checkpoint_files
from sweeps.state_tree import flatten, unflatten

FORMAT = "sweeplane checkpoint 1"


@dataclass(frozen=True)
class Owner:
    """The sweep whose trials a folder is for; SQLite gives the id of a deleted study again."""

    study: str
    created_at: str  # ISO 8601, by the study DB

    def trial(self, trial: Trial) -> dict[str, Any]:
        """Return what tells a trial from any other, as JSON has it."""
        config = {"config": trial.config.to_json(), "seeds": list(trial.seeds)}
        text = json.dumps({**asdict(self), "number": trial.number, **config})
        return dict(json.loads(text))


def save(folder: Path, owner: Owner, trial: Trial, token: int, state: State) -> Path:
    """Write a trial's state, and remove what was written under earlier leases.

    Raises:
        UnstorableError: the state holds something else than numbers, text and tensors.
        OSError: the folder cannot be written to, or is full.
    """
    tree, tensors = flatten(vars(state))
    header = {
        "format": FORMAT,
        "trial": json.dumps(owner.trial(trial)),
        "state": json.dumps(tree, allow_nan=False),
        "crc32": str(_checksum(tensors)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_file(folder, trial.number, token)
    _write(path, tensors, header)
    for other, its in checkpoint_files(folder, trial.number).items():
        if its < token:
            other.unlink(missing_ok=True)
    return path


def load(
    folder: Path, owner: Owner, trial: Trial, reached: int, refuse: Callable[[str], None]
) -> State | None:
    """Return the latest state of a trial up to the epoch `reached`; None without any.

    `refuse` is told in a line of each file that cannot be used, and why.
    """
    best: State | None = None
    for path in checkpoint_files(folder, trial.number):
        if path.suffix == ".tmp":
            continue
        try:
            state = _read(path, owner.trial(trial))
        except FileNotFoundError:
            continue  # another worker has ended the trial, or gone on with it
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            refuse(f"checkpoint {path} is not used: {_reason(error)}")
            continue
        if state.epoch <= reached and (best is None or state.epoch > best.epoch):
            best = state
    return best


def remove(folder: Path, number: int) -> None:
    """Remove the files of a trial that has ended.

    Raises:
        OSError: one cannot be removed.
    """
    for path in checkpoint_files(folder, number):
        path.unlink(missing_ok=True)


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        try:
            save_file(tensors, temporary, header)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, trial: Mapping[str, Any]) -> State:
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, not {FORMAT!r}")
        found = json.loads(header["trial"])
        if found != trial:
            differ = [name for name in trial if found.get(name) != trial[name]]
            raise ValueError(f"it is another trial's: {', '.join(differ)} differ")
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if str(_checksum(tensors)) != header["crc32"]:
        raise ValueError("its tensors are not those that were written")
    return State(**unflatten(json.loads(header["state"]), tensors))


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    found = 0
    for name in sorted(tensors):
        flat = tensors[name].reshape(-1).view(torch.uint8)
        found = zlib.crc32(flat.numpy().data, found)
    return found


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
