"""The work by Ray Tune: ASHA, Optuna's TPE, and actors that go from trial to trial on 2 CPUs.

    python -m benchmarks.side_by_side.with_ray FOLDER TRIALS EPOCHS SEED TARGET

Prints the best trial that came to its last epoch as JSON. The file `reached` in FOLDER appears when
a validation loss of TARGET is reported: unlike the others' databases, Ray's files come late.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.side_by_side.work import SPACE, Training, load

CPUS = 2
LOSS, BEST = "valid_loss", "best_valid_loss"


class Digits(tune.Trainable):
    """One actor: it loads the data once and trains one trial after the other."""

    def setup(self, config: dict[str, Any], epochs: int, seed: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed * 1_000_000 + os.getpid())  # the actors' weights differ
        self._data, self._epochs = load(), epochs
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._training = Training(self._data, **new_config)
        self._best = float("inf")
        return True

    def step(self) -> dict[str, float]:
        loss = self._training.epoch()
        self._best = min(self._best, loss)
        result = {LOSS: loss, BEST: self._best}
        if self.iteration + 1 == self._epochs:
            result["test_accuracy"] = self._training.test_accuracy()
        return result


class Reached(tune.Callback):
    """Says by a file that a trial has come to the target."""

    def __init__(self, file: Path, target: float) -> None:
        self._file, self._target = file, target

    def on_trial_result(self, *_: Any, result: dict[str, Any], **__: Any) -> None:
        if result[LOSS] <= self._target:
            self._file.touch()


def search(folder: str, trials: int, epochs: int, seed: int, target: float) -> list[dict[str, Any]]:
    """Run all trials; return each one's last result."""
    tuner = tune.Tuner(
        tune.with_parameters(Digits, epochs=epochs, seed=seed),
        param_space={name: tune.loguniform(*span) for name, span in SPACE.items()},
        tune_config=tune.TuneConfig(
            num_samples=trials,
            # As the sweep: ASHA compares an epoch's loss, TPE a trial's best one.
            search_alg=OptunaSearch(
                metric=BEST, mode="min", sampler=optuna.samplers.TPESampler(seed=seed)
            ),
            scheduler=ASHAScheduler(
                metric=LOSS, mode="min", max_t=epochs, grace_period=1, reduction_factor=3
            ),
            reuse_actors=True,
            max_concurrent_trials=CPUS,
        ),
        run_config=tune.RunConfig(
            storage_path=folder,
            stop={"training_iteration": epochs},
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[Reached(Path(folder) / "reached", target)],
        ),
    )
    return [result.metrics for result in tuner.fit()]


def main() -> None:
    folder, *numbers, target = sys.argv[1:]
    trials, epochs, seed = map(int, numbers)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The node's address: Ray takes that of the default route, which a machine without a network
    # has not and a firewall may keep from itself; one node needs the loopback device alone.
    ray.init(
        num_cpus=CPUS,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=f"{folder}/ray",
    )
    results = search(folder, trials, epochs, seed, float(target))
    best = min((each for each in results if "test_accuracy" in each), key=lambda each: each[BEST])
    found = {"best": best[BEST], "test_accuracy": best["test_accuracy"], "trials": len(results)}
    found["epochs"] = sum(each["training_iteration"] for each in results)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
