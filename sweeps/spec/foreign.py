"""Keys that users bring from Katib, Ray, Hydra, Optuna and Azure ML, and what they are here."""

from __future__ import annotations

_TRIALS = "run_cap (= budget.trials)"
_AT_ONCE = "lanes (trials trained together) and workers (processes)"

FOREIGN: dict[str, tuple[str, str]] = {
    "maxTrialCount": ("Katib's", _TRIALS),
    "parallelTrialCount": ("Katib's", _AT_ONCE),
    "maxFailedTrialCount": ("Katib's", "budget.failures"),
    "objective": ("Katib's and Azure's", "metric"),
    "algorithm": ("Katib's", "method"),
    "earlyStopping": ("Katib's", "early_terminate"),
    "num_samples": ("Ray's", _TRIALS),
    "max_concurrent_trials": ("Ray's and Azure's", _AT_ONCE),
    "time_budget_s": ("Ray's", "budget.time"),
    "param_space": ("Ray's", "parameters"),
    "search_alg": ("Ray's", "method"),
    "n_trials": ("Optuna's and Hydra's", _TRIALS),
    "n_jobs": ("Optuna's and Hydra's", _AT_ONCE),
    "timeout": ("Optuna's and Azure's", "budget.time"),
    "study_name": ("Optuna's and Hydra's", "name"),
    "direction": ("Optuna's and Hydra's", "metric.goal"),
    "sampler": ("Optuna's and Hydra's", "method"),
    "pruner": ("Optuna's", "early_terminate"),
    "params": ("Hydra's", "parameters"),
    "max_total_trials": ("Azure's", _TRIALS),
    "trial_timeout": ("Azure's", "budget.trial_time"),
    "search_space": ("Azure's", "parameters"),
    "sampling_algorithm": ("Azure's", "method"),
    "early_termination": ("Azure's", "early_terminate"),
    "limits": ("Azure's", "budget"),
    "metrics": ("W&B's", "metric; several objectives are not there yet in this version"),
    "max_trials": ("Ax's and KerasTuner's", _TRIALS),
}
"""Foreign key -> (whose it is, the key of this file that means it)."""


def foreign(key: str) -> str | None:
    """Return the message for a key of another tool, None for one that is not known as such."""
    if key not in FOREIGN:
        return None
    whose, here = FOREIGN[key]
    return f"'{key}' is {whose} key; here it is {here}"
