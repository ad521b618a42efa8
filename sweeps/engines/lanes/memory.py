"""Memory: when there is too little of it."""

from __future__ import annotations

import torch


def is_out_of_memory(error: Exception) -> bool:
    """Did the device, or the machine, refuse memory?"""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
