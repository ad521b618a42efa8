"""Where checkpoints go and how often: what `--checkpoints` and `--checkpoint-every` mean."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import URL


@dataclass(frozen=True)
class Every:
    """A trial's state is written when one of the two has passed since the last time."""

    seconds: float = math.inf  # of its training
    epochs: float = math.inf

    def __str__(self) -> str:
        """Return it as `--checkpoint-every` reads it."""
        return f"{self.seconds:f}s" if math.isinf(self.epochs) else f"{self.epochs:.0f}"


@dataclass(frozen=True)
class Keeping:
    """`folder` None: the study DB's own (`default_folder`); `every` None: no checkpoints."""

    folder: Path | None = None
    every: Every | None = Every(seconds=30.0)


DEFAULT_KEEPING = Keeping()


def default_folder(url: URL) -> Path:
    """Return where the checkpoints of a study DB go: beside a SQLite file, else here."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        return path.with_name(f"{path.stem}-checkpoints")
    return Path("sweeps-checkpoints")


def study_folder(folder: Path, study_name: str, study_id: int) -> Path:
    """Return the folder of one study: its name as far as a path can have it, and its id."""
    return folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', study_name)[:100]}-{study_id}"


def trials_folder(folder: Path, created_at: datetime) -> Path:
    """Return the folder of what trials keep themselves, in that of a study.

    SQLite gives the id of a deleted study again, whose trials must not find what others kept.
    """
    return folder / f"trials-{created_at:%Y%m%dT%H%M%S}"


def checkpoint_file(folder: Path, number: int, token: int) -> Path:
    """Return the file of a trial's state; `token` is that of the lease under which it is written.

    A worker that was paused beyond its lease has an older token: it writes to another file.
    """
    return folder / f"{number}-{token}.safetensors"


def checkpoint_files(folder: Path, number: int | None = None) -> dict[Path, int]:
    """Return the files of a trial (None: of all), half-written ones too, with their tokens."""
    name = re.compile(r"(\d+)-(\d+)\.safetensors(\.\d+\.tmp)?")
    found = {}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return {}
    for path in paths:
        match = name.fullmatch(path.name)
        if match and number in (None, int(match[1])):
            found[path] = int(match[2])
    return found


def remove_study(folder: Path, study_name: str, study_id: int) -> int:
    """Remove the checkpoints of a study, and what its trials kept; return how many there were.

    Raises:
        OSError: a file or the folder cannot be removed.
    """
    own = study_folder(folder, study_name, study_id)
    files = checkpoint_files(own)
    for path in files:
        path.unlink(missing_ok=True)
    for kept in own.glob("trials-*"):
        shutil.rmtree(kept)
    if own.is_dir() and not any(own.iterdir()):
        own.rmdir()
    return len(files)
