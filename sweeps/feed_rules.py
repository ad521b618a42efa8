"""What a feed does beyond storing: its part of the sweep file."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.budget import Budget


@dataclass(frozen=True)
class FeedRules:
    """What a feed does beyond storing: see `StudyFeed`."""

    metric: str
    maximize: bool
    take: str  # best | last: which of its values is a trial's value
    repeats: int
    seed: int
    min_epochs: int
    trial_seconds: float  # limit of one trial
    failures: int  # trials that may fail, over all launches
    learns: bool  # does the sampler draw from what earlier trials have shown?
    budget: Budget
