"""Memory: how much is used, and when there is too little of it."""

from __future__ import annotations

import psutil
import torch


def is_out_of_memory(error: Exception) -> bool:
    """Did the device, or the machine, refuse memory?"""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def used_memory(device: torch.device) -> int:
    """The bytes that this process uses, on CUDA the most that it has used."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)
