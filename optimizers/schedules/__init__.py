"""The registry of learning-rate schedules. To add one: a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from optimizers.schedules.constant import CONSTANT
from optimizers.schedules.cosine import COSINE
from optimizers.schedules.exponential import EXPONENTIAL
from optimizers.schedules.plateau import PLATEAU
from optimizers.schedules.schedule import Schedule
from optimizers.schedules.step import STEP

SCHEDULES: Mapping[str, Schedule] = {
    schedule.name: schedule for schedule in (CONSTANT, STEP, EXPONENTIAL, COSINE, PLATEAU)
}
"""Every schedule by name."""
