"""A step of the drop-in optimizers, and of lanes, against what people would pick instead.

Models, all float32 on one CPU thread: (a) 6 tensors of 6 thousand numbers together, (b) 400 of 0.8
million, (c) 40 of 5 million; lanes: 64 models of (a) as rows of one buffer. Every contender has its
own weights and gradients; they take turns in blocks of steps, and the figure is the median step.

    python -m benchmarks.optimizers [--rounds 7] [--cases a b c lanes]
        [--markdown] [--output benchmarks/results/optimizers.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_optimizer
import torch

import optimizers
from benchmarks.timm_optim import timm_optim
from optimizers import RULES, LaneOptimizer

SMALL = [(64, 64), (64,), (25, 64), (25,), (10, 25), (10,)]
MODELS: Mapping[str, list[tuple[int, ...]]] = {
    "a": SMALL,
    "b": [(40, 50)] * 400,
    "c": [(250, 500)] * 40,
}
CASES = (*MODELS, "lanes")
LANES = 64
Step = Callable[[], object]


def numbers(shapes: list[tuple[int, ...]]) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes)


def weights(shapes: list[tuple[int, ...]]) -> list[torch.nn.Parameter]:
    """Fresh weights with gradients, as a backward pass leaves them."""
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p)
    return params


Make = Callable[[list[torch.nn.Parameter]], Any]


def of(cls: Any, **arguments: Any) -> Make:
    return lambda params: cls(params, lr=1e-3, **arguments)


def flattened(cls: Any, **arguments: Any) -> Make:
    """Ours after `flatten_parameters()`."""

    def make(params: list[torch.nn.Parameter]) -> Any:
        optimizer = cls(params, lr=1e-3, **arguments)
        optimizer.flatten_parameters()
        return optimizer

    return make


def of_torch(name: str, *, fused: bool, **arguments: Any) -> dict[str, Make]:
    """Ours, and torch's ways of the same algorithm."""
    cls, own = getattr(torch.optim, name), getattr(optimizers, name)
    ways = {"torch": {"foreach": False}, "torch foreach": {"foreach": True}}
    ways |= {"torch fused": {"fused": True}} if fused else {}
    theirs = {label: of(cls, **way, **arguments) for label, way in ways.items()}
    mine = {"ours": of(own, **arguments)}
    mine |= {"ours, flattened": flattened(own, **arguments)} if fused else {}
    return {**mine, **theirs}


def of_libraries(name: str, timms: str) -> dict[str, Make]:
    """Ours, pytorch_optimizer's and, where it is installed, timm's class of the algorithm."""
    timm = timm_optim()
    found = {"ours": of(getattr(optimizers, name))}
    theirs = getattr(pytorch_optimizer, name, None)
    found |= {"pytorch_optimizer": of(theirs)} if theirs is not None else {}
    return found | ({"timm": of(getattr(timm, timms))} if timm and timms else {})


def drop_ins() -> dict[str, dict[str, Make]]:
    """Algorithm -> contender -> its optimizer for these weights."""
    adamw = {**of_torch("AdamW", fused=True), **of_libraries("AdamW", "AdamWLegacy")}
    return {
        "AdamW": {**adamw, "pytorch_optimizer (StableAdamW)": of(pytorch_optimizer.StableAdamW)},
        "SGD, momentum": of_torch("SGD", fused=True, momentum=0.9),
        "RMSprop": of_torch("RMSprop", fused=False),
        "NAdam": of_torch("NAdam", fused=False),
        "Lion": of_libraries("Lion", "Lion"),
        "AdaBelief": of_libraries("AdaBelief", "AdaBelief"),
        "ADOPT": of_libraries("ADOPT", "Adopt"),
        "LAMB": of_libraries("Lamb", "Lamb"),
        "Prodigy": of_libraries("Prodigy", ""),
    }


def lanes(name: str) -> dict[str, Step]:
    """64 models of (a): rows of one buffer, or as many optimizers."""
    rule, size = RULES[name], numbers(SMALL)
    grad = torch.randn(LANES, size)

    def together(compiled: bool) -> Step:
        flat = torch.randn(LANES, size)
        optimizer = LaneOptimizer(rule, flat, SMALL, {}, compile=compiled)
        return lambda: optimizer.step(grad)

    def apart(**arguments: Any) -> Step:
        cls = getattr(torch.optim, rule.class_name)
        each = [cls(weights(SMALL), lr=1e-3, **arguments) for _ in range(LANES)]
        return lambda: [optimizer.step() for optimizer in each]

    return {
        "ours, compiled": together(True),
        "ours, eager": together(False),
        "64 torch fused": apart(fused=True),
        "64 torch": apart(foreach=False),
    }


def timed(steps: Mapping[str, Step], rounds: int, block: int) -> dict[str, float]:
    """Microseconds of the median step of each contender, which take turns in blocks."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for _ in range(2):
                step()
            for _ in range(block):
                start = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) * 1e6 for name, values in seconds.items()}


def compare(rounds: int, cases: Sequence[str]) -> list[dict[str, Any]]:
    """Every comparison: case, algorithm, and microseconds a step by contender, ours first."""
    found = []
    for case, shapes in ((case, MODELS[case]) for case in cases if case in MODELS):
        block = 5 if case == "c" else 20
        for algorithm, contenders in drop_ins().items():
            steps = {name: make(weights(shapes)).step for name, make in contenders.items()}
            found.append({"case": case, "algorithm": algorithm, "us": timed(steps, rounds, block)})
            print_row(found[-1])
    for name in ("adamw", "sgd") if "lanes" in cases else ():
        label = f"{RULES[name].class_name}, {LANES} lanes"
        found.append({"case": "lanes", "algorithm": label, "us": timed(lanes(name), rounds, 20)})
        print_row(found[-1])
    return found


def print_row(row: Mapping[str, Any]) -> None:
    own, *others = row["us"].items()
    ratios = ", ".join(f"{name} {us:,.0f} us = {us / own[1]:.2f}x" for name, us in others)
    print(f"({row['case']}) {row['algorithm']}: {own[0]} {own[1]:,.0f} us; {ratios}", flush=True)


def markdown(rows: list[Mapping[str, Any]]) -> str:
    """The README's table: ours in microseconds, the others as multiples of it."""
    lines = [
        "| case | algorithm | ours, µs | the others, as multiples of ours |",
        "|---|---|--:|---|",
    ]
    for row in rows:
        (_, own), *others = row["us"].items()
        ratios = ", ".join(f"{name} **{us / own:.2f}**" for name, us in others)
        lines.append(f"| {row['case']} | {row['algorithm']} | {own:,.0f} | {ratios} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--markdown", action="store_true", help="print the README's table too")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = compare(arguments.rounds, arguments.cases)
    if arguments.markdown:
        print(markdown(rows))
    if arguments.output:
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        result = {"torch": torch.__version__, "threads": 1, "machine": machine, "rows": rows}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
