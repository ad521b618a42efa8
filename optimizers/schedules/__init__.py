"""The registry of learning-rate schedules. To add one: a file in this folder and a line here.

`Lambda`, `Multiplicative`, `Sequential` and `Chained` are schedules too; they hold functions or
other schedules, so there is nothing to search and no name to find them by.
"""

from __future__ import annotations

from collections.abc import Mapping

from optimizers.schedules.adaptive import ADAPTIVE
from optimizers.schedules.combined import Chained, Sequential
from optimizers.schedules.constant import CONSTANT
from optimizers.schedules.cosine import COSINE
from optimizers.schedules.cosine_warm_restarts import COSINE_WARM_RESTARTS
from optimizers.schedules.cyclic import CYCLIC
from optimizers.schedules.exponential import EXPONENTIAL
from optimizers.schedules.functions import Lambda, Multiplicative
from optimizers.schedules.inverse_sqrt import INVERSE_SQRT
from optimizers.schedules.invscaling import INVSCALING
from optimizers.schedules.linear import LINEAR
from optimizers.schedules.multistep import MULTISTEP
from optimizers.schedules.one_cycle import ONE_CYCLE
from optimizers.schedules.plateau import PLATEAU
from optimizers.schedules.polynomial import POLYNOMIAL
from optimizers.schedules.schedule import Schedule
from optimizers.schedules.step import STEP
from optimizers.schedules.wsd import WSD

__all__ = ["SCHEDULES", "Chained", "Lambda", "Multiplicative", "Schedule", "Sequential"]

SCHEDULES: Mapping[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        CONSTANT,
        STEP,
        MULTISTEP,
        EXPONENTIAL,
        LINEAR,
        POLYNOMIAL,
        COSINE,
        COSINE_WARM_RESTARTS,
        ONE_CYCLE,
        CYCLIC,
        WSD,
        INVERSE_SQRT,
        INVSCALING,
        PLATEAU,
        ADAPTIVE,
    )
}
"""Every schedule by name."""
