"""The schedules as torch `LRScheduler`s, under torch's names and arguments.

    from optimizers.lr_scheduler import CosineAnnealingLR, ScheduleLR

All are driven by the pure factors of `optimizers.schedules`. Each loads the state of torch's
scheduler of its name. `ScheduleLR` takes any schedule, `ScheduleWD` puts one on the weight decay;
`WSDLR`, `InverseSquareRootLR` and `InvScalingLR` are what torch has no class for.
"""

from __future__ import annotations

from torch.optim.lr_scheduler import LRScheduler

from optimizers.lr_scheduler.combined import ChainedScheduler, SequentialLR
from optimizers.lr_scheduler.cycles import CyclicLR, OneCycleLR
from optimizers.lr_scheduler.decays import (
    WSDLR,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    InverseSquareRootLR,
    InvScalingLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from optimizers.lr_scheduler.functions import LambdaLR, MultiplicativeLR
from optimizers.lr_scheduler.plateau import ReduceLROnPlateau
from optimizers.lr_scheduler.restarts import CosineAnnealingWarmRestarts
from optimizers.lr_scheduler.schedule_lr import ScheduleLR, ScheduleWD, build_scheduler

__all__ = [
    "WSDLR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "InvScalingLR",
    "InverseSquareRootLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "ScheduleLR",
    "ScheduleWD",
    "SequentialLR",
    "StepLR",
    "build_scheduler",
]
