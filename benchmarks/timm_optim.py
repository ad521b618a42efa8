"""`timm.optim`, also where torchvision's CUDA wheel stands beside a CPU build of torch.

There its compiled operators do not load, and its import asks for two of them. timm's optimizers use
neither, so that declaring them is enough.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

_OPERATORS = ("nms", "qnms")


def timm_optim() -> Any:
    """Return the module `timm.optim`, None where timm is not installed (the extra `bench`)."""
    try:
        return importlib.import_module("timm.optim")
    except ModuleNotFoundError:
        return None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]
    for operator in _OPERATORS:
        torch.library.define(f"torchvision::{operator}", "(Tensor x) -> Tensor")
    return importlib.import_module("timm.optim")
