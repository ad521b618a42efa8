"""`Run`: a trial in the lanes engine, in lanes of a group or by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from optimizers import RULES
from sweeps.engines.base import Cut, Ending, Outcome, State, Trial
from sweeps.engines.lanes.group import Group, Measured
from sweeps.engines.metering import failure
from sweeps.engines.replica import Data, Replica, Start, mean

if TYPE_CHECKING:
    from sweeps.engines.lanes.cohort import Cohort


class Run:
    """A trial in training: `lanes` of `group`, or `replicas` of its own."""

    data: Data
    cohort: Cohort

    def __init__(self, trial: Trial, device: torch.device) -> None:
        self.trial, self._device = trial, device
        self.replicas: list[Replica] = []
        self.group: Group | None = None
        self.lanes: list[int] = []
        self.measured: list[Measured] = []  # of the present epoch, one a repeat
        self.may_fuse = trial.config.optimizer in RULES
        start = trial.start
        self.epoch = start.epoch if start else 0
        self.seconds = start.seconds if start else 0.0
        self._device_seconds = start.device_seconds if start else 0.0
        self._peak = start.peak_memory if start else None
        self._last_seconds, self._torn = 0.0, False  # of its last epoch; is it in the middle of one

    def alone(self) -> None:
        """Train an epoch by itself."""
        began, epoch = time.perf_counter(), self.epoch + 1
        start = Start(self.replicas, self._last_seconds)
        try:
            values = [replica.epoch(epoch, self.data.valid) for replica in self.replicas]
        except Cut:
            self._torn = not start.go_back()
            raise
        self.took(time.perf_counter() - began, share=1.0)
        pairs = zip(values, self.replicas, strict=True)
        self.measured = [Measured(own, replica.last_step) for own, replica in pairs]

    def took(self, seconds: float, *, share: float) -> None:
        """Count an epoch; `share` of the device was this trial's."""
        self.epoch += 1
        self.seconds += seconds
        self._last_seconds = seconds
        self._device_seconds += share * seconds
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self._peak = max(self._peak or 0, peak)

    def values(self) -> dict[str, float]:
        """Return the epoch's curves, means over the repeats."""
        return mean([each.values for each in self.measured])

    def outcome(
        self, stop: bool, diverged: bool, tested: Callable[[], dict[str, float]]
    ) -> list[Outcome]:
        """Return how the trial ended after this epoch; nothing while it goes on."""
        step = min(each.last_step for each in self.measured)
        self.measured = []
        if diverged:
            return [self._outcome(Ending.DIVERGED, step=step)]
        if self.epoch == self.trial.config.epochs:
            return [self._outcome(Ending.TRAINED, test=tested())]
        return [self._outcome(Ending.STOPPED)] if stop else []

    def cut(self, state: Callable[[], State]) -> Outcome:
        """Return the end of a trial that goes on elsewhere, from where its epoch began."""
        known = self.epoch > 0 and not self._torn
        return self._outcome(Ending.STOPPED, state=state if known else None)

    def sit(self, group: Group, lanes: list[int]) -> None:
        """Go on in these lanes."""
        self.group, self.lanes, self.replicas = group, lanes, []

    def unseat(self, replicas: list[Replica]) -> None:
        """Leave the lanes; go on with these replicas."""
        for lane in self.lanes if self.group is not None else ():
            assert self.group is not None
            self.group.leave(lane)
        self.group, self.lanes, self.replicas = None, [], replicas

    def state(self, replicas: Sequence[Mapping[str, Any]]) -> State:
        """Return the trial's state at the end of the epoch."""
        return State(self.epoch, self.seconds, self._device_seconds, self._peak, replicas)

    def fails(self, error: Exception) -> Outcome:
        """Return the end of a trial whose own code raised `error`."""
        return self._outcome(Ending.FAILED, **failure(error))

    def _outcome(self, ending: Ending, **more: Any) -> Outcome:
        used = (self.epoch, self.seconds, self._device_seconds, self._peak)
        return Outcome(self.trial.number, ending, *used, **more)
