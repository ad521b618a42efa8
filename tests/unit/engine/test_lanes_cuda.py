"""The lanes engine on a CUDA device: the serial engine's curves there, and the processor's.

They are skipped where there is no such device.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from built_in import small_task
from lane_models import Net
from lane_training import Offered, assert_equal, in_lanes, mixed, serially
from serial_training import ListFeed, config, task_of
from test_lane_programs import elementwise
from test_lanes_data import ANEW
from test_lanes_data import task as iris_from
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from sweeps import Task
from sweeps.engines.base import Objective, Trial
from sweeps.engines.lanes.cohort import Cohort
from sweeps.engines.lanes.ladder import Ladder
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.run import Run
from sweeps.engines.setting import Setting

CUDA = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", ["iris-mlp", "digits-cnn", "char-lm", "char-lstm", "cifar10"])
def test_the_curves_are_those_of_one_by_one_there_and_on_the_processor(
    name: str, tmp_path: Path
) -> None:
    """All algorithms in turn, with refills; initial weights and orders come from the processor."""
    task, trials = small_task(name, tmp_path, 48), mixed(5, batch_size=16)
    lanes, serial, processor = (ListFeed(*trials) for _ in range(3))
    assert in_lanes(task, lanes, 3, device=CUDA) == []
    assert_equal(lanes, serially(task, serial, device=CUDA))
    assert_equal(lanes, serially(task, processor))


@pytest.mark.parametrize("kind", ["tensors", "loader", "with a rest"])
def test_compiled_steps_are_replayed_as_cuda_graphs(kind: str) -> None:
    """Two fillings of the lanes, so that others' weights come to another place in memory.

    Inductor refuses what it can make no graph of, instead of going on without.
    """
    task = task_of("iris-mlp") if kind == "tensors" else iris_from(kind)
    trials = [replace(t, config=replace(t.config, batch_size=32)) for t in elementwise(9)]
    lanes = ListFeed(*trials)
    counters.clear()
    with inductor.patch("triton.cudagraph_or_error", True):
        said = in_lanes(task, lanes, 4, device=CUDA, compiling=True)
    assert [line for line in said if "read once" not in line] == []
    assert counters["inductor"]["cudagraph_recorded_non_static_inputs"] > 0
    assert counters["inductor"]["cudagraph_skips"] == 0
    assert_equal(lanes, serially(task, ListFeed(*trials), device=CUDA))


@pytest.mark.parametrize("kind", ["random dataset", "random loader"])
def test_augmented_data_come_to_the_device_batch_by_batch(kind: str) -> None:
    lanes, serial = ListFeed(*mixed(5)), ListFeed(*mixed(5))
    (line,) = in_lanes(iris_from(kind), lanes, 3, device=CUDA)
    assert line.startswith(ANEW)
    assert_equal(lanes, serially(iris_from(kind), serial, device=CUDA))


def test_a_metric_of_a_number_meets_idle_lanes() -> None:
    """Three trials in four lanes."""
    task, trials = Net("vectors", ("linear",)).task(), mixed(3, batch_size=6)
    lanes, serial = ListFeed(*trials), ListFeed(*trials)
    for line in in_lanes(task, lanes, 4, device=CUDA):
        assert line.startswith("steps are not traced: ")
    assert_equal(lanes, serially(task, serial, device=CUDA))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_dropout_and_low_precision_do_not_keep_models_apart(precision: str) -> None:
    """Dropout draws from the device's generator; TF32 and bfloat16 round coarsely."""

    def model() -> nn.Module:
        conv = (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten())
        return nn.Sequential(*conv, nn.Dropout(0.5), nn.Linear(8 * 36, 10))

    task = replace(task_of("digits-mlp"), model=model)
    feed = ListFeed(*[Trial(n, config(epochs=2, batch_size=32), (n,)) for n in range(4)])
    assert in_lanes(task, feed, 4, precision, device=CUDA) == []
    for number in range(4):
        first, last = feed.curve("train/loss", number)
        assert last < first


@pytest.mark.parametrize(("first", "second"), [("cpu", CUDA), (CUDA, "cpu")])
@pytest.mark.parametrize("then_serial", [False, True])
def test_a_trial_goes_on_on_the_other_device(first: str, second: str, then_serial: bool) -> None:
    task, trials = task_of("iris-mlp"), mixed(6, epochs=4)
    begun = Offered(*trials, at=2, stop_at=2)
    in_lanes(task, begun, 3, device=first)
    rest = ListFeed(*[replace(trial, start=begun.states[trial.number]) for trial in trials])
    if then_serial:
        serially(task, rest, device=second)
    else:
        in_lanes(task, rest, 3, device=second)
    wanted = serially(task, ListFeed(*trials), device="cpu")
    wanted.points = [point for point in wanted.points if point.epoch > 2]
    assert_equal(rest, wanted)


class Wide(nn.Module):
    """A layer whose output takes far more memory than the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.first(x).unsqueeze(-1).expand(-1, -1, 2**16)  # [32, 4, 65536]: 64 MB
        return self.last((wide * wide.sin()).mean(-1))


def test_too_little_memory_halves_the_lanes() -> None:
    iris = task_of("iris-mlp")
    task = Task(model=Wide, train=iris.train, valid=iris.valid, loss=F.cross_entropy)
    trials = [Trial(n, config(epochs=2, batch_size=32), (n,)) for n in range(8)]
    needed = {lanes: peak(task, trials, lanes) for lanes in (4, 8)}
    assert needed[8] > 1.5 * needed[4]
    total = torch.cuda.get_device_properties(0).total_memory
    lanes = ListFeed(*trials)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.75 * needed[8] / total)
    try:
        said = in_lanes(task, lanes, 8, device=CUDA)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert said[0].startswith("8 lanes need more memory than there is: ")
    assert all("need more memory" in line for line in said)
    assert_equal(lanes, serially(task, ListFeed(*trials), device=CUDA))


def peak(task: Task, trials: list[Trial], lanes: int) -> int:
    """Return the most bytes that so many lanes use, what the allocator keeps included."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    in_lanes(task, ListFeed(*trials), lanes, device=CUDA)
    return torch.cuda.max_memory_reserved()


def test_no_step_waits_for_the_device() -> None:
    """Averages included; the first step is traced, and the epoch's order brought there."""
    setting = Setting(CUDA, "float32", Objective("valid/loss", maximize=False))
    chosen = config(batch_size=16, schedule="one_cycle", average="ema")
    run = Run(Trial(0, chosen, (0,)), setting.device)
    run.data = setting.open(iris_from("loader"))
    programs = Programs(False, lambda _: 0.0, lambda _: None, setting.clock)
    cohort = Cohort("iris", setting, programs, lambda *_: Ladder({}, 1.0), lambda _: None)
    cohort.take_up(run)
    group = cohort.group(run.data, 16, 3)
    for lane in range(3):
        group.seat(lane, chosen, setting.replica(run.data, run.trial, lane))
    steps = iter(group.steps(traced=True))
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(steps)) >= 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
