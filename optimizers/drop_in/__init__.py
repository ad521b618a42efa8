"""The rules as `torch.optim.Optimizer` classes, under torch's names and arguments.

from optimizers import AdamW          # instead of: from torch.optim import AdamW
"""

from optimizers.drop_in.classes import DROP_INS, build_optimizer
from optimizers.drop_in.optimizer import RuleOptimizer

__all__ = ["DROP_INS", "RuleOptimizer", "build_optimizer"]
