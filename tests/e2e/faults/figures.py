"""What a fault did to a study, in the figures of the README's reliability table."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Figures:
    """One fault on one database, over all its repeats."""

    fault: str
    database: str
    repeats: int = 0
    trials: int = 0
    lost: int = 0  # finished trials that were changed, or are not there any more
    left_running: int = 0  # trials still held by a dead worker one lease + 5 s later, or at the end
    failed: int = 0
    stale_writes: int = 0  # accepted after another worker had taken the trial over
    wanted: int | None = None  # trials of the budget
    got: int | None = None
    takeover_seconds: float | None = None  # the longest time until nobody dead held a trial
    most_attempts: int | None = None
    seconds: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)  # anything else that must not be
    seen: Counter[str] = field(default_factory=Counter)  # how often the fault met what

    @property
    def sound(self) -> bool:
        """Whether every figure that must be 0 is, and the budget was met exactly."""
        bad = self.lost + self.left_running + self.failed + self.stale_writes
        return not bad and not self.wrong.total() and self.wanted == self.got

    def took(self, seconds: float) -> None:
        """Keep the longest time until a trial was taken over."""
        self.takeover_seconds = max(self.takeover_seconds or 0.0, seconds)

    def check(self, what: str, *, holds: bool) -> None:
        """Count a promise that was not kept."""
        if not holds:
            self.wrong[what] += 1

    def add(self, other: Figures) -> None:
        """Add another run of the same fault on the same database."""
        counts = ("repeats", "trials", "lost", "left_running", "failed", "stale_writes", "seconds")
        for name in counts:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, join in (("wanted", sum), ("got", sum), ("most_attempts", max)):
            both = [n for n in (getattr(self, name), getattr(other, name)) if n is not None]
            setattr(self, name, join(both) if both else None)
        if other.takeover_seconds is not None:
            self.took(other.takeover_seconds)
        self.wrong.update(other.wrong)
        self.seen.update(other.seen)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as they are kept in benchmarks/results."""
        longest = self.takeover_seconds
        rounded = {
            "takeover_seconds": None if longest is None else round(longest, 2),
            "seconds": round(self.seconds, 1),
            "wrong": {name: count for name, count in self.wrong.items() if count},
        }
        return {**asdict(self), **rounded, "seen": dict(self.seen), "sound": self.sound}
