"""A whole sweep here against the loop that people write by hand with Optuna and torch.

Both train the same number of trials of digits-mlp (AdamW, cosine decay, TPE, no pruning), record
the validation loss and accuracy of each epoch in SQLite, and run on one thread. The hand-written
loop reports the objective alone; the sweep stores four curves a trial, and test metrics. The two
take turns; the ratio is that of a pair in one run.

    python -m benchmarks.serial [--trials 20] [--pairs 3] [--output benchmarks/results/serial.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import optuna
import torch
import torch.nn.functional as F

from sweeps.launch import open_sweep
from sweeps.spec import load_spec
from sweeps.tasks.builtin import digits_mlp
from sweeps.worker import Worker

EPOCHS = 30
BATCH_SIZE = 32
SWEEP = """
name: serial
task: digits-mlp
optimizer: adamw
schedule: cosine
epochs: {epochs}
batch_size: {batch_size}
run_cap: {trials}
baseline: false
early_terminate: none
lanes: 1
"""


def sweeplane(folder: Path, trials: int) -> float:
    """Run a sweep in this process; return its seconds from the file to the last trial."""
    path = folder / "serial.yaml"
    path.write_text(SWEEP.format(epochs=EPOCHS, batch_size=BATCH_SIZE, trials=trials))
    start = time.perf_counter()
    sweep = open_sweep(load_spec(path), f"sqlite:///{folder}/sweeps.db", "serial")
    with Worker(sweep) as worker:
        worker.run()
    seconds = time.perf_counter() - start
    done = len(sweep.study.get_trials(deepcopy=False))
    sweep.storage.close()
    if done != trials:
        raise RuntimeError(f"{done} trials instead of {trials}")
    return seconds


def by_hand(folder: Path, trials: int) -> float:
    """The usual script: study.optimize around a torch training loop."""
    start, task = time.perf_counter(), digits_mlp()
    x, y = task.train
    steps = len(x) // BATCH_SIZE

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        beta1 = 1 - trial.suggest_float("one_minus_beta1", 0.02, 0.5, log=True)
        beta2 = 1 - trial.suggest_float("one_minus_beta2", 1e-4, 0.1, log=True)
        weight_decay = trial.suggest_float("weight_decay", 5e-3, 1, log=True)
        torch.manual_seed(trial.number)
        model = task.model()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=lr, betas=(beta1, beta2), weight_decay=weight_decay
        )
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
        best = float("inf")
        for epoch in range(EPOCHS):
            model.train()
            order = torch.randperm(len(x))[: steps * BATCH_SIZE].view(steps, BATCH_SIZE)
            for index in order:
                optimizer.zero_grad()
                F.cross_entropy(model(x[index]), y[index]).backward()
                optimizer.step()
                scheduler.step()
            model.eval()
            with torch.no_grad():
                output = model(task.valid[0])
                loss = F.cross_entropy(output, task.valid[1]).item()
                (output.argmax(1) == task.valid[1]).float().mean().item()
            trial.report(loss, epoch)
            best = min(best, loss)
        return best

    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna.db", sampler=optuna.samplers.TPESampler(seed=0)
    )
    study.optimize(objective, n_trials=trials)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/serial.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pairs = []
    for pair in range(arguments.pairs + 1):
        seconds = {}
        for name, run in (("sweeplane", sweeplane), ("by_hand", by_hand))[:: 1 - 2 * (pair % 2)]:
            with tempfile.TemporaryDirectory() as folder:
                seconds[name] = run(Path(folder), arguments.trials)
        if pair:  # the first pair warms up
            pairs.append(seconds)
            print({name: round(value, 2) for name, value in seconds.items()})
    ratio = statistics.median(pair["sweeplane"] / pair["by_hand"] for pair in pairs)
    result = {
        "trials": arguments.trials,
        "epochs": EPOCHS,
        "pairs": pairs,
        "ratio": ratio,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "optuna": optuna.__version__,
        },
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"a sweep takes {ratio:.2f} times as long as the hand-written loop")


if __name__ == "__main__":
    main()
