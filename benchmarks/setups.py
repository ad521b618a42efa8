"""Sweeps of ten set-ups in the style of public tutorials, in lanes and as people train them.

A few short trials of AdamW, each with another learning rate, train
  as written   one after the other by the usual loop with torch's fused AdamW, the data read by the
               set-up's own loader
  plain        by the same loop, the data read once into memory where they are the same every time
  serial       by the serial engine
  lanes        by the lanes engine, with as many lanes as its probe chooses
Each evaluates after every epoch. They take turns; a figure is the median over the rounds of the
ratio within a round. The probe is timed by itself: its result is kept for later runs of a sweep.

    python -m benchmarks.setups [--only MLP ...] [--trials 16] [--epochs N] [--lanes N] [--rounds 3]
        [--threads 1] [--device cpu] [--markdown] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.lanes import (
    Workload,
    cohort_of,
    full_group,
    machine,
    synchronize,
    versions,
    workload_of,
)
from benchmarks.tutorials import SETUPS
from sweeps.engines.base import Ending, Engine, Outcome, Outlook, Point, Trial
from sweeps.engines.lanes.engine import LanesEngine
from sweeps.engines.serial import SerialEngine
from sweeps.tasks.data import Batch

TRACED, CALLED, ALONE = "a traced program", "calls by vmap", "one by one"
Epoch = Callable[[int], Iterable[Batch]]
"""The training batches of an epoch."""


class Feed:
    """Gives trials and never stops one.

    Raises:
        RuntimeError: a trial ended before its last epoch.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._waiting = list(trials)

    def outlook(self) -> Outlook:
        return Outlook(trials=len(self._waiting), at_once=len(self._waiting))

    def take(self, n: int) -> list[Trial]:
        taken, self._waiting = self._waiting[:n], self._waiting[n:]
        return taken

    def report(self, points: Sequence[Point]) -> set[int]:
        return set()

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.ending is not Ending.TRAINED:
                raise RuntimeError(f"trial {outcome.number}: {outcome.ending} {outcome.error}")


def setup(name: str, device: str) -> Workload:
    task = SETUPS[name]()
    return workload_of(name, task, device, task.batch_size)


def trials_of(work: Workload, count: int, epochs: int) -> list[Trial]:
    """Trials whose learning rates go from 1e-4 to 1e-2 in even steps of their logarithm."""
    rates = torch.logspace(-4, -2, count).tolist()
    return [
        Trial(n, replace(work.config, hypers={"lr": lr}, epochs=epochs), (n,))
        for n, lr in enumerate(rates)
    ]


def trains_as(work: Workload) -> tuple[str, str]:
    """Return how several of its models may train at once, and why not as a traced program."""
    found: list[str] = []
    cohort = cohort_of(work, compiled=False, found=found)
    if cohort.why_alone:
        return ALONE, cohort.why_alone
    next(iter(full_group(work, cohort, 2).steps(traced=True)))
    return (CALLED, found[0]) if found else (TRACED, "")


def as_written(work: Workload) -> tuple[Epoch, Epoch]:
    """Return what reads the batches by the set-up's own loaders, to train and to validate."""

    def reader(data: Any, *, shuffle: bool) -> Epoch:
        if isinstance(data, tuple):
            data = TensorDataset(*data)
        if not isinstance(data, DataLoader):
            data = DataLoader(data, work.config.batch_size, shuffle=shuffle, drop_last=shuffle)
        device = work.setting.device

        def batches(_: int) -> Iterable[Batch]:
            for parts in data:
                *inputs, target = (part.to(device) for part in parts)
                yield tuple(inputs), target

        return batches

    task = work.run.data.task
    return reader(task.train, shuffle=True), reader(task.valid, shuffle=False)


def read_once(work: Workload) -> tuple[Epoch, Epoch]:
    """Return what reads the batches as the engines do, to train and to validate."""
    data, size = work.run.data, work.config.batch_size
    return lambda epoch: data.train.shuffled(size, epoch), lambda _: data.valid.ordered()


def by_hand(work: Workload, trials: Sequence[Trial], train: Epoch, valid: Epoch) -> None:
    """The loop of torch's documentation, a model after the other."""
    task = work.run.data.task
    functions = {"loss": task.loss, **task.metrics}
    for trial in trials:
        torch.manual_seed(trial.number)
        model = work.setting.model(work.run.data)
        lr = trial.config.hypers["lr"]
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
        for epoch in range(trial.config.epochs):
            model.train()
            for inputs, target in train(epoch):
                optimizer.zero_grad()
                task.loss(model(*inputs), target).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for inputs, target in valid(epoch):
                    output = model(*inputs)
                    for function in functions.values():
                        function(output, target)


def by_engine(engine: Engine, work: Workload, trials: Sequence[Trial]) -> None:
    engine.run(lambda _: work.run.data.task, Feed(trials))


def measure(
    work: Workload, count: int, epochs: int | None, lanes: int | None, rounds: int
) -> dict[str, Any]:
    kind, reason = trains_as(work)
    task, setting = work.run.data.task, work.setting
    trials = trials_of(work, count, epochs or task.epochs)
    notes: dict[str, Any] = {}
    place = (str(setting.device), "float32", setting.objective)

    def in_lanes() -> LanesEngine:
        return LanesEngine(*place, lanes, notes=notes)

    began = time.perf_counter()
    tried = in_lanes().try_out(lambda _: task, trials[0])  # notes what the probe finds
    probing = time.perf_counter() - began
    contenders: dict[str, Callable[[], None]] = {
        "as written": lambda: by_hand(work, trials, *as_written(work)),
        "plain": lambda: by_hand(work, trials, *read_once(work)),
        "serial": lambda: by_engine(SerialEngine(*place), work, trials),
        "lanes": lambda: by_engine(in_lanes(), work, trials),
    }
    taken = [{name: seconds(work, run) for name, run in contenders.items()} for _ in range(rounds)]
    spent = {name: statistics.median(each[name] for each in taken) for name in contenders}
    return {
        "may train as": kind,
        "why": reason or tried.reason,
        "lanes": min(tried.ladder.most, count),
        "parameters": tried.parameters,
        "batch size": work.config.batch_size,
        "steps a trial": tried.steps * trials[0].config.epochs,
        "milliseconds a step alone": round(1e3 * tried.ladder.alone, 2),
        "seconds of probing": round(probing, 2),
        "seconds": {name: round(value, 3) for name, value in spent.items()},
        "lanes, times as fast as": {
            name: round(statistics.median(each[name] / each["lanes"] for each in taken), 2)
            for name in contenders
            if name != "lanes"
        },
    }


def seconds(work: Workload, run: Callable[[], None]) -> float:
    synchronize(work)
    began = time.perf_counter()
    run()
    synchronize(work)
    return time.perf_counter() - began


def table(results: Mapping[str, Any]) -> str:
    heads = ("set-up", "may train as", "lanes", "step alone, ms", "as written", "plain", "serial")
    lines = ["| " + " | ".join(heads) + " |", "|---|---|--:|--:|--:|--:|--:|"]
    for name, found in results.items():
        times = found["lanes, times as fast as"]
        cells = [name, found["may train as"], found["lanes"], found["milliseconds a step alone"]]
        cells += [f"{times[other]:.2f}x" for other in ("as written", "plain", "serial")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    notes = [f"- {name}: {found['why']}" for name, found in results.items() if found["why"]]
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, help="of a trial, instead of the set-up's own")
    parser.add_argument("--lanes", type=int, help="instead of the probe's choice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = {}
    for name in given.only:
        work = setup(name, given.device)
        results[name] = measure(work, given.trials, given.epochs, given.lanes, given.rounds)
        print(name, json.dumps(results[name]), flush=True)
    if given.markdown:
        print(table(results))
    if given.output:
        text = {
            "command": " ".join(["python -m benchmarks.setups", *sys.argv[1:]]),
            "machine": machine(given.device),
            "versions": versions(),
            "trials": given.trials,
            "results": results,
        }
        given.output.write_text(json.dumps(text, indent=2) + "\n")


if __name__ == "__main__":
    main()
