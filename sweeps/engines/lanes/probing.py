"""How many lanes pay on this device: a few steps with 1, 2, 4, ... of them, timed.

The probe calls the model each time, which shows where more lanes bring no more; the best number's
step is then traced and timed against a model by itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch

from sweeps.engines.lanes.group import Group
from sweeps.engines.lanes.ladder import Ladder, knee, measured
from sweeps.engines.lanes.memory import is_out_of_memory, used_memory
from sweeps.engines.replica import Replica
from sweeps.tasks.memory import free_memory

STEPS = 4
"""How many steps are timed; the first, which makes buffers, is not one of them."""
_WORSE = 1.1
_SECONDS = 5.0  # of one number of lanes: no step so slow has idle arithmetic units
_SHARE_OF_MEMORY = 0.5

Make = Callable[[int], Group]
"""A group of so many lanes, all of them taken."""


def probe(alone: Replica, make: Make, most: int) -> Ladder:
    """Return the ladder of a model, `alone` being one of them, with up to `most` lanes."""
    device = next(alone.model.parameters()).device
    single = seconds_a_step(alone.steps(), device)
    called: dict[int, float] = {}
    lanes = 2
    while lanes <= most:
        before = used_memory(device)
        try:
            called[lanes] = seconds_a_step(make(lanes).steps(traced=False), device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        grown = max(used_memory(device) - before, 0)
        share = {n: seconds / n for n, seconds in called.items()}
        too_slow = called[lanes] * (STEPS + 1) > _SECONDS
        if share[lanes] > _WORSE * min(share.values()) or too_slow:
            break
        if 2 * grown > _SHARE_OF_MEMORY * free_memory(device):
            break
        lanes *= 2
    if not called:
        return Ladder({}, single)
    traced = seconds_a_step(make(knee(called)).steps(traced=True), device)
    return measured(single, called, traced)


def seconds_a_step(steps: Iterable[Any], device: torch.device) -> float:
    """Return the seconds of a step: the median of `STEPS` after the first."""
    found = []
    began = time.perf_counter()
    for _ in islice(steps, STEPS + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
        began = time.perf_counter()
    return statistics.median(found[1:] or found)
