"""The work by Optuna, as its documentation distributes it: processes that share an RDB storage.

    python -m benchmarks.side_by_side.with_optuna FOLDER TRIALS EPOCHS SEED

Prints the best complete trial as JSON. `optuna.db` in FOLDER has the study.
"""

from __future__ import annotations

import json
import sys
from multiprocessing import Pool

import optuna
import torch

from benchmarks.side_by_side.work import SPACE, Training, load

PROCESSES = 2
STUDY = "side-by-side"


def optimize(storage: str, trials: int, epochs: int, seed: int, process: int) -> None:
    """Run this process's share of the trials."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = load()

    def objective(trial: optuna.Trial) -> float:
        found = {name: trial.suggest_float(name, *span, log=True) for name, span in SPACE.items()}
        torch.manual_seed(seed * 1_000_000 + trial.number)
        training = Training(data, **found)
        best = float("inf")
        for epoch in range(1, epochs + 1):
            loss = training.epoch()
            best = min(best, loss)
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("test_accuracy", training.test_accuracy())
        return best

    study = optuna.load_study(
        study_name=STUDY,
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=seed * PROCESSES + process),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )
    study.optimize(objective, n_trials=trials)


def main() -> None:
    folder, *numbers = sys.argv[1:]
    trials, epochs, seed = map(int, numbers)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{folder}/optuna.db"
    study = optuna.create_study(study_name=STUDY, storage=storage, direction="minimize")
    shares = [(trials + process) // PROCESSES for process in range(PROCESSES)]
    with Pool(PROCESSES) as pool:
        jobs = [(storage, share, epochs, seed, n) for n, share in enumerate(shares)]
        pool.starmap(optimize, jobs, chunksize=1)
    best = study.best_trial
    print(json.dumps({"best": best.value, "test_accuracy": best.user_attrs["test_accuracy"]}))


if __name__ == "__main__":
    main()
