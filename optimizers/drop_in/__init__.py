"""The rules as `torch.optim.Optimizer` classes, under torch's names and arguments.

    from optimizers import AdamW          # instead of: from torch.optim import AdamW

What the constructors take (`optimizers.drop_in.arguments`) comes without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizers.drop_in.classes import DROP_INS, build_optimizer
    from optimizers.drop_in.optimizer import RuleOptimizer

__all__ = ["DROP_INS", "RuleOptimizer", "build_optimizer"]

_HOMES = {"DROP_INS": "classes", "RuleOptimizer": "optimizer", "build_optimizer": "classes"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
