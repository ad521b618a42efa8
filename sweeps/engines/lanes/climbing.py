"""`Climbing`: with how many lanes a cohort's models train, as asked for, known or found out now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from sweeps.device import name_of
from sweeps.engines.base import Notes, Outlook
from sweeps.engines.lanes.ladder import Ladder, asked_for

if TYPE_CHECKING:
    from sweeps.engines.lanes.cohort import Cohort
    from sweeps.engines.lanes.run import Run

_MOST = {"cpu": 64, "cuda": 256}
"""The most lanes to find out about: a processor's caches are full long before."""


class Climbing:
    """Finds ladders: `lanes` where the user has named a number, else by a probe.

    `notes` keeps what was found out, a device and model each.
    """

    def __init__(self, lanes: int | None, device: str, precision: str, notes: Notes) -> None:
        self._lanes, self._notes = lanes, notes
        self._most = _MOST[torch.device(device).type]
        shape = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
        self._hardware = f"{name_of(device)}, {shape}, torch {torch.__version__}, {precision}"

    def ladder(self, outlook: Callable[[], Outlook], cohort: Cohort, run: Run) -> Ladder:
        """Return the ladder of a cohort, whose first run this is."""
        if self._lanes is not None:
            return asked_for(self._lanes)
        at_once = outlook().at_once * len(run.trial.seeds)
        most = max(int(min(self._most, at_once)), 1)
        size = sum(p.numel() for p in run.replicas[0].model.parameters())
        text = f"{self._hardware}, {size} parameters: {cohort.key}"
        key = hashlib.sha256(text.encode()).hexdigest()
        known = self._notes.get(key)
        if known is not None:
            return Ladder.from_json(known).up_to(most)
        found = cohort.probe(run, self._most)
        if found.seconds:  # that lanes do not pay may be another process's doing: not noted
            self._notes[key] = found.as_json()
        return found.up_to(most)
