"""`TrialHandle`: one trial, as a function that trains by itself sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from optimizers import SCHEDULES, ScheduleLR, build_scheduler
from sweeps.engines.base import Objective, Trial
from sweeps.engines.replica import make_optimizer
from sweeps.engines.reports import Reports, checked
from sweeps.engines.tally import Tally

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

    from sweeps.config import Config, Scalar


class TrialHandle:
    """What a task's function gets as its `trial`.

        def train(trial, hidden=64):
            model = MLP(hidden).to(trial.device)
            optimizer = trial.optimizer(model)
            schedule = trial.schedule(optimizer, steps=trial.epochs * len(batches))
            for epoch in range(1, trial.epochs + 1):
                ...  # optimizer.step(); schedule.step()
                if trial.report({"valid/loss": loss}):
                    return

    `params` has every knob with its effective value, under the names of the leaderboard. `seed` is
    the trial's own; torch, NumPy and `random` are seeded from it before the function is called.
    """

    def __init__(
        self,
        trial: Trial,
        *,
        device: torch.device,
        folder: Path,
        objective: Objective,
        reports: Reports,
        tally: Tally,
    ) -> None:
        config: Config = trial.config
        self._config, self._folder, self._objective = config, folder, objective
        self._reports, self._tally = reports, tally
        self.number: int = trial.number
        self.seed: int = trial.seeds[0]
        self.params: Mapping[str, Scalar] = MappingProxyType(config.flat())
        self.epochs: int = config.epochs
        self.batch_size: int = config.batch_size
        self.device = device

    @property
    def folder(self) -> Path:
        """A folder of this trial for checkpoints of one's own; whoever takes the trial over finds
        there what was written on the same machine. It exists once it is asked for.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def optimizer(self, params: nn.Module | ParamsT) -> Optimizer:
        """Return the trial's optimizer for a model, or for parameters (or groups of them)."""
        given = params.parameters() if isinstance(params, nn.Module) else params
        optimizer = make_optimizer(self._config, given)
        optimizer.register_step_post_hook(
            lambda *_: self._tally.trained(1, 1, self._config.batch_size)
        )
        return optimizer

    def schedule(self, optimizer: Optimizer, *, steps: int) -> ScheduleLR:
        """Return the trial's schedule, to be stepped after every step of `optimizer`.

        `steps` are the optimizer's steps in the whole training: the schedule's warmup and end are
        parts of them. A schedule with feedback (`plateau`, `adaptive`) reads what `report` gets.
        """
        config = self._config
        scheduler = build_scheduler(
            config.schedule,
            optimizer,
            steps,
            config.schedule_hypers,
            maximize=self._objective.maximize,
        )
        if SCHEDULES[config.schedule].feedback:
            self._reports.observers.append(scheduler.observe)
        return scheduler

    def report(
        self, metrics: Mapping[str, Any] | None = None, *, step: float | None = None, **more: Any
    ) -> bool:
        """Report metrics; return whether to stop, and then the function should return.

        `metrics` is for names that are no Python names: `report({"valid/loss": loss})`. A report
        with the sweep's metric ends an epoch of the trial; values of other reports are kept with
        the next such one. `step` is kept as a curve of that name. A metric or loss that is not
        finite ends the trial as diverged.

        Raises:
            ValueError: a name that no metric can have.
            TypeError: a value that is no number.
        """
        values = {**(metrics or {}), **more}
        if step is not None:
            values["step"] = step
        return self._reports.add(checked(values))
