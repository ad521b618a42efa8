"""Which device a sweep trains on."""

from __future__ import annotations

import platform
from importlib.metadata import version

from studies.errors import UserError


def resolve_device(device: str) -> str:
    """Return the torch device that `device` (auto, cpu, cuda, cuda:N) means on this machine.

    Raises:
        UserError: a CUDA device that is not here.
    """
    if device == "cpu" or (device == "auto" and version("torch").endswith("+cpu")):
        return "cpu"  # without torch, which takes seconds to import
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        raise UserError(
            f"device '{device}' is not there: torch {torch.__version__} sees {count} CUDA "
            "devices. Give --device cpu or auto"
        )
    return device


def name_of(device: str) -> str:
    """Return the make of a torch device: the GPU's name, or the processor's architecture."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return platform.machine()
