"""Steps a second in lanes, against the training loop that people write, for each built-in task.

The plain loop trains one model after the other with torch's AdamW, default and fused; lanes train K
models by a traced step and by a compiled one. All take the same batches in turns of one epoch, and
a figure is the median over the rounds of the ratio within a round. `limit` is the share of what
torch's own batched matrix products reach here with numbers that lie in the cache.

    python -m benchmarks.lanes [--tasks digits-mlp:32 ...] [--lanes 8 32 64] [--rounds 5]
        [--threads 1] [--device cpu] [--no-compile] [--markdown] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sweeps.config import Config
from sweeps.engines.base import Objective, Trial
from sweeps.engines.lanes.cohort import Cohort
from sweeps.engines.lanes.group import Group
from sweeps.engines.lanes.ladder import Ladder
from sweeps.engines.lanes.programs import Programs
from sweeps.engines.lanes.run import Run
from sweeps.engines.setting import Setting
from sweeps.tasks import load_factory
from sweeps.tasks.task import Task

WORK = (
    "digits-mlp:32",
    "digits-mlp:128",
    "digits-cnn:32",
    "char-lm",
    "char-lstm",
    "iris-mlp",
    "exp-curve",
)
Round = Callable[[], float]
"""Trains for an epoch; seconds a step of one model."""


@dataclass
class Workload:
    """A task's data on the device, and a trial of it."""

    name: str
    setting: Setting
    run: Run

    @property
    def config(self) -> Config:
        return self.run.trial.config


def workload(name: str, device: str) -> Workload:
    task_name, _, batch_size = name.partition(":")
    task = load_factory(task_name, Path())()
    return workload_of(name, task, device, int(batch_size or task.batch_size))


def workload_of(name: str, task: Task, device: str, batch_size: int) -> Workload:
    config = Config(
        optimizer="adamw",
        hypers={"lr": 1e-3},
        switches={},
        schedule="constant",
        schedule_hypers={},
        average="none",
        epochs=10_000,
        batch_size=batch_size,
        task_args={},
    )
    setting = Setting(device, "float32", Objective("valid/loss", maximize=False))
    setting.warm_up()
    run = Run(Trial(0, config, (0,)), setting.device)
    run.data = setting.open(task)
    return Workload(name, setting, run)


def plain(work: Workload, *, fused: bool, compiled: bool = False) -> Round:
    """The loop of torch's documentation, all data in one tensor."""
    data, size = work.run.data, work.config.batch_size
    torch.manual_seed(0)
    model = work.setting.model(data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused or None)
    call: Any = torch.compile(model) if compiled else model

    def epoch() -> float:
        batches = list(data.train.shuffled(size, 0))
        synchronize(work)
        began = time.perf_counter()
        for inputs, target in batches:
            optimizer.zero_grad()
            data.task.loss(call(*inputs), target).backward()
            optimizer.step()
        synchronize(work)
        return (time.perf_counter() - began) / len(batches)

    model.train()
    epoch()
    return epoch


def synchronize(work: Workload) -> None:
    if work.setting.device.type == "cuda":
        torch.cuda.synchronize(work.setting.device)


def cohort_of(work: Workload, *, compiled: bool, found: list[str]) -> Cohort:
    programs = Programs(compiled, lambda _: 0.0, found.append, work.setting.clock)
    cohort = Cohort(work.name, work.setting, programs, lambda *_: Ladder({}, 1.0), found.append)
    cohort.take_up(work.run)
    return cohort


def full_group(work: Workload, cohort: Cohort, lanes: int) -> Group:
    """Return a group whose lanes are all taken, each by a fresh model."""
    group = cohort.group(work.run.data, work.config.batch_size, lanes)
    for lane in range(lanes):
        group.seat(lane, work.config, work.setting.replica(work.run.data, work.run.trial, lane))
    return group


def in_lanes(work: Workload, lanes: int, *, compiled: bool) -> Round:
    """The engine's own steps: batches, metrics and schedules included.

    Raises:
        RuntimeError: the steps cannot be traced, or compiled.
    """
    found: list[str] = []
    group = full_group(work, cohort_of(work, compiled=compiled, found=found), lanes)

    def epoch() -> float:
        synchronize(work)
        began = time.perf_counter()
        count = sum(1 for _ in group.steps(traced=True))
        synchronize(work)
        return (time.perf_counter() - began) / count / lanes

    epoch()
    if found:
        raise RuntimeError(f"{work.name}: {'; '.join(found)}")
    return epoch


def flops(work: Workload) -> int:
    """Operations of forward and backward of one model on one batch."""
    data = work.run.data
    model = work.setting.model(data)
    inputs, target = next(iter(data.train.shuffled(work.config.batch_size, 0)))
    with FlopCounterMode(display=False) as counter:
        data.task.loss(model(*inputs), target).backward()
    return counter.get_total_flops()


def peak(device: str) -> float:
    """Operations a second of batched products [64, 64, 64], the best of many."""
    x, y = (torch.randn(64, 64, 64, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(50):
        began = time.perf_counter()
        product: Tensor = torch.bmm(x, y)
        float(product[0, 0, 0])
        best = min(best, time.perf_counter() - began)
    return 2 * 64**4 / best


def measure(work: Workload, lanes: list[int], rounds: int, *, compiling: bool) -> dict[str, Any]:
    contenders: dict[str, Round] = {
        "plain": plain(work, fused=False),
        "plain, fused": plain(work, fused=True),
    }
    if compiling:
        contenders["plain, fused, compiled"] = plain(work, fused=True, compiled=True)
    for count in lanes:
        contenders[f"traced, K={count}"] = in_lanes(work, count, compiled=False)
        if compiling:
            contenders[f"compiled, K={count}"] = in_lanes(work, count, compiled=True)
    cohort = cohort_of(work, compiled=False, found=[])
    ladder = cohort.probe(work.run, max(lanes))
    taken = []
    for _ in range(rounds):
        taken.append({name: epoch() for name, epoch in contenders.items()})
    reference = "plain, fused"
    return {
        "flops a step": flops(work),
        "lanes by the probe": ladder.most,
        "microseconds": {
            name: round(1e6 * statistics.median(each[name] for each in taken), 2)
            for name in contenders
        },
        f"times {reference}": {
            name: round(statistics.median(each[reference] / each[name] for each in taken), 2)
            for name in contenders
        },
    }


def table(results: Mapping[str, Any]) -> str:
    lines = ["| task | " + " | ".join(("plain loop, us", "traced", "compiled", "limit")) + " |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, found in results.items():
        times, spent = found["times plain, fused"], found["microseconds"]
        best = [_best(times, kind) for kind in ("traced", "compiled")]
        cells = [f"{times[each]:.1f}x ({each.split()[-1]})" if each else "-" for each in best]
        share = found["share of peak"]
        lines.append(
            f"| {name} | {spent['plain, fused']:.0f} | {cells[0]} | {cells[1]} | {share:.0%} |"
        )
    return "\n".join(lines)


def _best(times: Mapping[str, float], kind: str) -> str | None:
    own = [name for name in times if name.startswith(f"{kind},")]
    return max(own, key=times.__getitem__, default=None)


def machine(device: str) -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(WORK))
    parser.add_argument("--lanes", nargs="+", type=int, default=[8, 32, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    best = peak(arguments.device)
    results = {}
    for name in arguments.tasks:
        work = workload(name, arguments.device)
        found = measure(work, arguments.lanes, arguments.rounds, compiling=not arguments.no_compile)
        quickest = min(found["microseconds"].values()) / 1e6
        found["share of peak"] = round(found["flops a step"] / quickest / best, 3)
        results[name] = found
        print(name, json.dumps(found), flush=True)
    if arguments.markdown:
        print(table(results))
    if arguments.output:
        text = {
            "command": " ".join(["python -m benchmarks.lanes", *sys.argv[1:]]),
            "machine": machine(arguments.device) | {"gflops of products": round(best / 1e9, 1)},
            "versions": versions(),
            "results": results,
        }
        arguments.output.write_text(json.dumps(text, indent=2) + "\n")


if __name__ == "__main__":
    main()
