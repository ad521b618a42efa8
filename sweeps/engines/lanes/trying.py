"""`Trying`: how one trial would train, found by a few steps of it, alone and in lanes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain

from optimizers import RULES
from sweeps.engines.lanes.ladder import Ladder
from sweeps.engines.lanes.memory import used_memory
from sweeps.engines.lanes.probing import seconds_a_step
from sweeps.engines.lanes.run import Run
from sweeps.engines.setting import Setting


@dataclass(frozen=True)
class Trying:
    """What was found of a trial's model; `reason`: why such models do not train in lanes.

    `ladder` has the seconds of a step alone and in lanes, `evaluation_seconds` are those of one
    model on the validation set. `steps` are those of an epoch. `model_bytes` are parameters and
    buffers, `process_bytes` what this process uses (on CUDA the most that it used on the device).
    """

    reason: str
    ladder: Ladder
    steps: int
    evaluation_seconds: float
    parameters: int
    model_bytes: int
    process_bytes: int

    @classmethod
    def of(cls, run: Run, setting: Setting) -> Trying:
        """Look at a run that its cohort has taken up."""
        replica, device = run.replicas[0], setting.device
        ladder, optimizer = run.cohort.ladder, run.trial.config.optimizer
        reason = run.cohort.why_alone
        if optimizer not in RULES:
            reason = f"optimizer {optimizer} is of another library"
        if reason:
            ladder = Ladder({}, seconds_a_step(replica.steps(), device))
        elif not ladder.seconds:
            reason = "lanes are no faster than one model after the other on this device"
        replica.evaluate("valid", run.data.valid)  # the first one makes buffers
        began = time.perf_counter()
        replica.evaluate("valid", run.data.valid)
        seconds = time.perf_counter() - began
        tensors = list(chain(replica.model.parameters(), replica.model.buffers()))
        return cls(
            reason=reason,
            ladder=ladder,
            steps=run.data.train.steps(run.trial.config.batch_size),
            evaluation_seconds=seconds,
            parameters=sum(p.numel() for p in replica.model.parameters()),
            model_bytes=sum(tensor.nbytes for tensor in tensors),
            process_bytes=used_memory(device),
        )
