"""What a compiled step is told of its inputs: which of them stay where they are in memory.

A CUDA graph is made only of a step that writes into such inputs, and it copies the others at each
replay, as it would copy the whole data set.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from serial_training import config, task_of
from test_lanes_data import task as iris_from

from sweeps.engines.base import Objective, Trial
from sweeps.engines.lanes.cohort import Cohort
from sweeps.engines.lanes.ladder import Ladder
from sweeps.engines.lanes.program import Program
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.run import Run
from sweeps.engines.setting import Setting


class Watched(Programs):
    """Keeps what the first steps take."""

    def prepare(self, program: Program, taken: Sequence[torch.Tensor]) -> None:
        self.program, self.taken = program, list(taken)
        super().prepare(program, taken)


@pytest.mark.parametrize(
    ("kind", "batch"),
    [("tensors", [(3, 32)]), ("loader", [(3, 32)]), ("random dataset", [(3, 32, 4), (3, 32)])],
)
def test_a_step_knows_which_of_its_inputs_stay(kind: str, batch: list[tuple[int, ...]]) -> None:
    """Weights, buffers, state and data that are read once; not the table's rows and the batches."""
    task = task_of("iris-mlp") if kind == "tensors" else iris_from(kind)
    setting = Setting("cpu", "float64", Objective("valid/loss", maximize=False))
    run = Run(Trial(0, config(batch_size=32), (0,)), setting.device)
    run.data = setting.open(task)
    programs = Watched(False, lambda _: 0.0, lambda _: None, setting.clock)
    cohort = Cohort(kind, setting, programs, lambda *_: Ladder({}, 1.0), lambda _: None)
    cohort.take_up(run)
    group = cohort.group(run.data, 32, 3)
    for lane in range(3):
        group.seat(lane, run.trial.config, setting.replica(run.data, run.trial, lane))
    before: list[torch.Tensor] = []
    for _ in group.steps(traced=True):
        before = before or [tensor.clone() for tensor in programs.taken]
    static, taken = set(programs.program.static), list(enumerate(programs.taken))
    written = {place for place, tensor in taken if not torch.equal(tensor, before[place])}
    assert len(written) >= 3  # weights and both moments
    assert written <= static
    row, *rest = [tuple(tensor.shape) for place, tensor in taken if place not in static]
    assert row[1:] == (3,)
    assert rest == batch
