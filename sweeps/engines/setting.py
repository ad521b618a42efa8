"""`Setting`: the device, precision and objective of an engine, and what trials need in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn

from studies.errors import UserError
from sweeps.engines.allocation import keep_freed_memory
from sweeps.engines.base import Objective, State, Trial
from sweeps.engines.replica import Data, Replica
from sweeps.engines.tally import Tally
from sweeps.tasks.data import epoch_seed, seed_everything
from sweeps.tasks.opening import open_split
from sweeps.tasks.task import Task


class Setting:
    """Makes data, models and replicas on a device, the same ones in every engine.

    `precision` is `float32`, `float64`, or `bf16`: float32 weights, the forward pass in autocast.
    `say` gets a line on how a task's datasets and loaders are read.
    """

    def __init__(
        self,
        device: str,
        precision: str,
        objective: Objective,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.device, self.objective = torch.device(device), objective
        self._say, self._said = say, set[str]()
        self._opened: Data | None = None
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._autocast = precision == "bf16"
        self.tally = Tally()

    def warm_up(self) -> None:
        """Do what is no trial's: torch's first optimizer imports its compiler (0.9 s)."""
        torch.optim.SGD([torch.zeros(1)])
        keep_freed_memory()

    def open(self, task: Task) -> Data:
        """Put a task's data on the device, its floating-point tensors in the precision.

        The last task's stay there for the next trial.
        """
        if self._opened is not None and self._opened.task is task:
            return self._opened
        self._opened = None  # its memory is free for the next
        notes: list[str] = []
        place = partial(open_split, device=self.device, dtype=self._dtype, say=notes.append)
        train, valid = place("train", task.train), place("valid", task.valid)
        test = None if task.test is None else place("test", task.test)
        if (line := "; ".join(notes)) not in {"", *self._said}:
            self._said.add(line)
            self._say(line)
        self._opened = Data(task, train, valid, test)
        return self._opened

    def model(self, data: Data) -> nn.Module:
        """Return a fresh model, of the present random numbers."""
        return data.task.model().to(self.device, self._dtype)

    def replica(self, data: Data, trial: Trial, seed: int) -> Replica:
        """Return one repeat of a trial before its first epoch."""
        seed_everything(epoch_seed(seed, 0))
        return Replica(data, trial, seed, self.model(data), self)

    def replicas(self, data: Data, trial: Trial) -> list[Replica]:
        """Return the repeats of a trial, where it starts.

        Raises:
            UserError: its checkpoint does not fit its task any more.
        """
        made = [self.replica(data, trial, seed) for seed in trial.seeds]
        if trial.start is not None:
            _load(made, trial.start)
        return made

    def clock(self) -> float:
        """Return seconds of work: of one thread its own, which others' work does not lengthen."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time() if alone else time.perf_counter()

    def context(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self._autocast:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def _load(replicas: list[Replica], start: State) -> None:
    try:
        for replica, state in zip(replicas, start.replicas, strict=True):
            replica.load(state)
    except Exception as error:
        raise UserError(
            f"the trial's checkpoint of epoch {start.epoch} does not fit its task any more: "
            f"{type(error).__name__}: {error}. Give the task its old code back before a sweep goes "
            "on, or train the trial anew: sweeps retry"
        ) from error
