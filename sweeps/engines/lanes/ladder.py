"""`Ladder`: with how many lanes a number of models trains soonest.

Programs are made for a few numbers of lanes only, and an idle lane costs as much as a live one. So
n models train with the number of lanes, of those on the ladder, whose step is the cheapest, or one
by one where that takes less time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ALONE = 0
WORTH = 1.03
"""Lanes must do so many times what models do one by one, to be worth it."""


@dataclass(frozen=True)
class Ladder:
    """`seconds`: a step with so many lanes; `alone`: a step of one model by itself."""

    seconds: Mapping[int, float]
    alone: float

    @property
    def most(self) -> int:
        """How many models to train at once."""
        return max(self.seconds, default=1)

    def lanes_for(self, models: int) -> int:
        """Return with how many lanes up to so many models train, or `ALONE`."""
        enough = [lanes for lanes in self.seconds if lanes >= models]
        if not enough:
            return self.most if self.seconds else ALONE
        best = min(enough, key=lambda lanes: (self.seconds[lanes], lanes))
        return ALONE if models * self.alone < self.seconds[best] else best

    def saved(self, lanes: int, fewer: int, models: int) -> float:
        """Return which part of a step's time so many models save with `fewer` lanes."""
        if lanes not in self.seconds:
            return 1.0
        step = models * self.alone if fewer == ALONE else self.seconds[fewer]
        return 1 - step / self.seconds[lanes]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"alone": self.alone, "seconds": {str(k): s for k, s in self.seconds.items()}}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Ladder:
        """Return what `as_json` gave."""
        return cls({int(k): float(s) for k, s in saved["seconds"].items()}, saved["alone"])

    def up_to(self, most: int) -> Ladder:
        """Return the ladder with at most so many lanes; none where less than two are left."""
        most = min(most, self.most)
        kept = {lanes: seconds for lanes, seconds in self.seconds.items() if lanes < most}
        if most > 1:
            above = min(lanes for lanes in self.seconds if lanes >= most)
            below = max(kept, default=0)
            part = (most - below) / (above - below)
            least = kept.get(below, 0.0)
            kept[most] = least + part * (self.seconds[above] - least)
        return Ladder(kept, self.alone)


def asked_for(lanes: int) -> Ladder:
    """Return the ladder of a number of lanes that the user has named: one model goes alone."""
    rungs = [2**n for n in range(1, lanes.bit_length()) if 2**n < lanes]
    if lanes > 1:
        rungs.append(lanes)
    # Relative costs, as digits-mlp has them: whatever the number, a step's calls cost 8 lanes.
    return Ladder({rung: rung + 8.0 for rung in rungs}, alone=9.5)


def measured(alone: float, called: Mapping[int, float], traced: float) -> Ladder:
    """Return the ladder of steps measured, in seconds.

    `called` has them with so many lanes, the model called each time; `traced` is that of the best
    number by its program.
    """
    if not called:
        return Ladder({}, alone)
    best = knee(called)
    share = traced / called[best]
    seconds = {lanes: step * share for lanes, step in called.items() if lanes <= best}
    if alone < WORTH * seconds[best] / best:
        return Ladder({}, alone)
    return Ladder(seconds, alone)


def knee(seconds: Mapping[int, float]) -> int:
    """Return the least number of lanes that do (nearly) as much a second as any other."""
    share = {lanes: step / lanes for lanes, step in seconds.items()}
    good = WORTH * min(share.values())
    return min(lanes for lanes, step in share.items() if step <= good)
