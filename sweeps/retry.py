"""`sweeps retry`: a finished trial's configuration once more, as a new trial with a link to it.

The old trial stays as it is. The new one has its number in the user attribute `retry_of`; its seed
follows from its own number, so it is another draw of the same configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from optuna.trial import FrozenTrial, TrialState, create_trial

from studies import StudyStorage, UserError, queries
from sweeps.grid_points import GRID_INDEX
from sweeps.outcomes import has_failed
from sweeps.sampling import CMA_STATE

RETRY_OF = "retry_of"
_KEPT = ("config", "origin")


def failed_trials(storage: StudyStorage, study: str) -> list[int]:
    """Return the numbers of the failed trials that no other trial retries yet.

    Raises:
        UserError: no such study.
    """
    trials = storage.get_all_trials(queries.status(storage, study).study_id, deepcopy=False)
    retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    failed = [t.number for t in trials if has_failed(t)]
    return [number for number in failed if number not in retried]


def retry(storage: StudyStorage, study: str, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Put the trials `numbers` of `study` in again, as waiting trials.

    Returns:
        (number, number of its new trial) for each, in the order given.

    Raises:
        UserError: no such study or trial, or one that has not ended; nothing is put in then.
    """
    study_id = queries.status(storage, study).study_id
    trials = storage.get_all_trials(study_id, deepcopy=False)
    by_number = {trial.number: trial for trial in trials}
    wanted = list(dict.fromkeys(numbers))
    sweep = any("config" in trial.user_attrs for trial in trials)
    problems = [_problem(study, n, by_number.get(n), sweep=sweep) for n in wanted]
    found = [problem for problem in problems if problem]
    if found:
        raise UserError("\n".join(found))
    return [(n, _put_in(storage, study_id, by_number[n])) for n in wanted]


def _problem(study: str, number: int, trial: FrozenTrial | None, *, sweep: bool) -> str | None:
    if trial is None:
        return f"study '{study}' has no trial {number}. See sweeps status {quote(study)}"
    if not trial.state.is_finished():
        return (
            f"trial {number} of study '{study}' is {trial.state.name}; only a finished one can be "
            "retried. Wait until it has ended"
        )
    if sweep and "config" not in trial.user_attrs:
        return f"trial {number} of study '{study}' ended before it had a configuration"
    return None


def _put_in(storage: StudyStorage, study_id: int, old: FrozenTrial) -> int:
    kept = {name: old.user_attrs[name] for name in _KEPT if name in old.user_attrs}
    # A failed trial's place in the grid, or in a generation, is free: its retry takes it.
    places = (GRID_INDEX, CMA_STATE) if old.state == TrialState.FAIL else ()
    new = create_trial(
        state=TrialState.WAITING,
        params=old.params,
        distributions=old.distributions,
        user_attrs={**kept, RETRY_OF: old.number},
        system_attrs={name: old.system_attrs[name] for name in places if name in old.system_attrs},
    )
    number: int = storage.get_trial(storage.create_new_trial(study_id, new)).number
    return number
