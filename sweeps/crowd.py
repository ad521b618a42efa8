"""How many processes `auto` means on this machine, and the device of each."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.spec import Spec

TRIALS_A_CORE = 8
SHARE_AT_ONCE = 8
"""A sampler that learns has at most an eighth of the budget's trials in training at once."""


def devices_of(spec: Spec) -> list[str]:
    """Return the device of each process that a sweep file asks for on this machine.

    `auto` is one a GPU, else one a core that this process may use (a container's limit counts), but
    no more than there are trials to train at once: another would only start up. A process on a CPU
    costs seconds and memory of its own, so each has TRIALS_A_CORE of the budget.
    """
    if isinstance(spec.workers, int):
        return [spec.device] * spec.workers
    there, trials = _devices(spec.device), spec.budget.trials
    most = share_at_once(trials, learns=learns(spec))
    if there[0] == "cpu":
        most = min(most, trials / TRIALS_A_CORE)
    return there[: max(math.floor(min(most, len(there))), 1)]


def share_at_once(trials: float, *, learns: bool) -> float:
    """Return how many of so many trials train at once at most; `learns`: the sampler does."""
    return trials / SHARE_AT_ONCE if learns else trials


def learns(spec: Spec) -> bool:
    """Return whether the sampler learns from the trials that have ended."""
    return spec.method not in ("random", "qmc", "grid")


def _devices(device: str) -> list[str]:
    if ":" in device:
        return [device]
    # torch takes seconds to import, and its wheel for CPUs finds no GPU.
    if device != "cpu" and not version("torch").endswith("+cpu"):
        import torch

        if count := torch.cuda.device_count():
            return [f"cuda:{number}" for number in range(count)]
    if device == "cuda":
        return [device]  # which is refused later, in its own words
    from joblib import cpu_count

    return ["cpu"] * cpu_count(only_physical_cores=True)
