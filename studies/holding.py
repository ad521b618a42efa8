"""The leases of one worker, as its own process knows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from studies.fences import Fence
from studies.leases import Claim, Points, claim
from studies.workers import Registered, Renewed, renew

if TYPE_CHECKING:
    from studies.storage import StudyStorage


@dataclass
class Holding:
    """The leases of this process's worker, as it knows them; for several threads."""

    storage: StudyStorage
    worker: Registered
    tokens: dict[int, int] = field(default_factory=dict)  # by trial id

    @property
    def fence(self) -> Fence:
        """What every write to these trials is given."""
        return Fence(self.worker.worker_id, self.tokens.copy())

    def claim(self, n: int, *, places: float = math.inf, points: Points | None = None) -> Claim:
        """See `claim`."""
        held = self.tokens.copy()
        found = claim(self.storage, self.worker, n, places=places, holding=held, points=points)
        self.tokens.update((lease.trial_id, lease.token) for lease in found.leases)
        return found

    def renew(self, numbers: Mapping[str, Any] | None = None) -> Renewed:
        """See `workers.renew`."""
        sent = self.tokens.copy()
        found = renew(self.storage, self.worker, sent, numbers)
        # What this worker has claimed again meanwhile is not lost.
        lost = frozenset(id_ for id_ in found.lost if self.tokens.get(id_) == sent[id_])
        return replace(found, lost=lost)

    def drop(self, trial_id: int) -> None:
        """Forgets a lease that has ended or is lost."""
        self.tokens.pop(trial_id, None)
