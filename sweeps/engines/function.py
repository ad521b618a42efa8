"""The engine of functions that train by themselves: one call a trial, one trial at a time.

    returns                            trained; a number is one more value of the metric, a mapping
                                       the test metrics
    returns after it was told to stop  stopped
    a metric or loss is not finite     diverged, whatever it does then
    raises, or calls sys.exit          failed; stopped where it was to stop by then, told or not:
                                       libraries answer SIGTERM by an exception

Nothing is known of the function's state: a trial that is taken over starts anew, in its folder.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from optimizers.names import closest
from sweeps.engines.base import Ending, Feed, Objective, Outcome, Tasks, Trial
from sweeps.engines.handle import TrialHandle
from sweeps.engines.metering import Meter, TrialError, failure
from sweeps.engines.reports import Reports, checked
from sweeps.engines.tally import Tally
from sweeps.tasks.data import epoch_seed, seed_everything


class FunctionEngine:
    """Calls `function(trial, **task_args)` for each trial, on a `device` that it is told.

    `folder` has one folder a trial.
    """

    def __init__(
        self,
        function: Callable[..., object],
        device: str,
        objective: Objective,
        folder: Path,
    ) -> None:
        self._function, self._device = function, torch.device(device)
        self._objective, self._folder = objective, folder.absolute()
        self._tally = Tally()

    @property
    def tally(self) -> Tally:
        """What it has done so far; steps are those of the optimizers that it made."""
        return self._tally

    def run(self, tasks: Tasks, feed: Feed) -> None:
        """Train until there is no more; a function needs no task."""
        while trials := feed.take(1):
            for trial in trials:
                self.tally.models = self.tally.lanes = 1
                feed.finish([self._train(trial, feed)])
                if self._device.type == "cuda":
                    gc.collect()  # the memory of a model within a cycle (a trainer's)

    def _train(self, trial: Trial, feed: Feed) -> Outcome:
        meter = Meter(self._device, None)
        reports = Reports(trial, feed, self._objective, meter)
        handle = TrialHandle(
            trial,
            device=self._device,
            folder=self._folder / str(trial.number),
            objective=self._objective,
            reports=reports,
            tally=self._tally,
        )

        def end(ending: Ending, **more: Any) -> Outcome:
            return Outcome(trial.number, ending, reports.epoch, **meter.used(), **more)

        try:
            test = meter(partial(self._call, handle, trial.config.task_args, reports))
        except TrialError as raised:
            if reports.error is None and reports.diverged_step is None:
                if reports.look():
                    return end(Ending.STOPPED)
                return end(Ending.FAILED, **failure(raised.cause))
        if reports.error is not None:
            raise reports.error
        if reports.diverged_step is not None:
            return end(Ending.DIVERGED, step=reports.diverged_step)
        return end(Ending.STOPPED) if reports.stopped else end(Ending.TRAINED, test=test)

    def _call(
        self, handle: TrialHandle, arguments: Mapping[str, Any], reports: Reports
    ) -> dict[str, float]:
        """Call the function; return the test metrics."""
        seed_everything(epoch_seed(handle.seed, 0))
        with self._tally.spent("training"):
            returned = self._function(handle, **arguments)
        if reports.stopped or reports.diverged_step is not None:
            return {}
        test = returned if isinstance(returned, Mapping) else {}
        if returned is not None and test is not returned:
            self._last(returned, reports)
        if reports.last is None:
            raise ValueError(self._nothing(reports))
        return {f"test/{name.removeprefix('test/')}": v for name, v in checked(test).items()}

    def _last(self, returned: object, reports: Reports) -> None:
        """Take a returned number as the last value of the metric, which may be known already."""
        try:
            [value] = checked({self._objective.name: returned}).values()
        except TypeError:
            raise TypeError(
                f"the function returned {returned!r:.80}; it may return nothing, a number (the "
                "last value of the metric) or a mapping of test metrics"
            ) from None
        reports.conclude(value)

    def _nothing(self, reports: Reports) -> str:
        metric = self._objective.name
        near = closest(metric, reports.names)
        said = f" It reported: {', '.join(reports.names)}." if reports.names else ""
        return (
            f"the function returned without a value of the sweep's metric '{metric}'"
            f"{f'; did you mean {near!r}?' if near else '.'}{said} Report it: "
            f"trial.report({{'{metric}': value}}), or return a number"
        )
