"""One search by four commands: `sweeps run` with and without MLflow, Optuna, and Ray Tune.

Each finds AdamW's learning rate, 1 - beta1, 1 - beta2 and weight decay for an MLP 64-64-10 on
scikit-learn's digits: so many trials of 30 epochs, TPE, ASHA from epoch 1 by thirds, two processes
of one thread. The ranges, the split, the initial weights' distribution and the metric are the same;
the sweep stores four curves a trial, the others the objective alone. The others have environments
of their own, made at the first run. The contenders take turns, one seed a round.

Wall time is the whole command's, from its start to its end; the target's is until a report of such
a validation loss can be read. Memory is the sum over all processes, shared pages once. With several
sizes `growth` is the ratio of wall times over that of epochs, from the smallest to the largest.

    python -m benchmarks.side_by_side [--trials 1024] [--repeats 3] [--seeds 0 1 2]
        [--only sweeplane optuna] [--markdown] [--output benchmarks/results/side-by-side.json]
    python -m benchmarks.side_by_side --trials 256,1024,4096 --only "sweeplane untracked" optuna
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.contenders import NAMES, Contenders, Work
from benchmarks.side_by_side.environments import ROOT
from benchmarks.side_by_side.figures import growth, line, lines, markdown, ratios, summary

ENVIRONMENTS = ROOT / ".environments"


def rounds(arguments: argparse.Namespace, contenders: Contenders) -> list[dict[str, Any]]:
    """Let all contenders do all sizes, round by round; return a row for each of both."""
    rows = [
        {"trials": trials, "contender": name, "rounds": []}
        for trials in sorted(arguments.trials)
        for name in arguments.only
    ]
    for turn in range(arguments.repeats):
        seed = arguments.seeds[turn % len(arguments.seeds)]
        for row in rows[:: 1 - 2 * (turn % 2)]:
            sizes = (row["trials"], arguments.epochs, arguments.lanes)
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory(prefix="side-") as folder:
                work = Work(*sizes, seed=seed, target=arguments.target)
                found = contenders.run(row["contender"], work, Path(folder))
            row["rounds"].append({"seed": seed, **found, "load before": load})
            print(f"round {turn + 1} of {arguments.repeats}: {line(row, found)}", flush=True)
    return [row | summary(row["rounds"]) for row in rows]


def machine() -> dict[str, Any]:
    cores = os.cpu_count()
    return {"processor": platform.machine(), "system": platform.platform(), "cores": cores}


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--trials", type=_numbers, default=[1024], help="sizes, with commas")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--lanes", type=_lanes, default=64, help="of a worker of `sweeps run`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one a round")
    parser.add_argument("--target", type=float, default=0.16, help="a validation loss")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, metavar="FOLDER")
    parser.add_argument("--here", action="store_true", help="use this environment for all")
    parser.add_argument("--markdown", action="store_true", help="print the README's table too")
    parser.add_argument("--output", type=Path)
    return parser.parse_args(given)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _lanes(text: str) -> int | str:
    return text if text == "auto" else int(text)


def main() -> None:
    arguments = parse()
    contenders = Contenders(arguments.only, arguments.environments, here=arguments.here)
    rows = rounds(arguments, contenders)
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.side_by_side", *sys.argv[1:]]),
        "epochs": arguments.epochs,
        "lanes": arguments.lanes,
        "target": arguments.target,
        "rows": rows,
        "ratios": ratios(rows),
        "growth": growth(rows),
        "machine": machine(),
        "versions": contenders.versions,
    }
    if arguments.markdown:
        print(markdown(rows))
    print("\n".join(lines(result)))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
