"""One process of a crowd: `member.py ours|optuna|claims URL STUDY_ID COUNT`."""

from __future__ import annotations

import json
import logging
import sys
import time

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from studies import Drawn, Finish, Holding, Report, claim, open_storage, register

REPORTS = 5
LEASE_SECONDS = 600.0  # it has no heartbeat, and may wait long for the file


def ours(url: str, study_id: int, count: int) -> int:
    """Ask, draw, report and tell as a worker's feed does; return how many errors said "locked"."""
    space = FloatDistribution(1e-4, 1.0, log=True)
    with open_storage(url) as storage:
        locked = _locked_errors(storage.engine)
        holding = Holding(storage, register(storage, study_id, lease_seconds=LEASE_SECONDS))
        for _ in range(count):
            (lease,) = holding.claim(1).leases
            lr = 10.0 ** -(lease.number % 4)
            refused = storage.draw([Drawn(lease.trial_id, {"lr": (lr, space)})], holding.fence)
            for step in range(1, REPORTS + 1):
                point = Report(lease.trial_id, step, lr / step, {"train/loss": lr})
                refused |= storage.report([point], holding.fence)
            end = Finish(lease.trial_id, TrialState.COMPLETE, [lr])
            refused |= storage.finish([end], holding.fence)
            assert not refused
            holding.drop(lease.trial_id)
    return len(locked)


def plain(url: str, study_id: int, count: int) -> int:
    """The same with Optuna's own storage at its defaults, which tries again by itself."""
    storage = optuna.storages.RDBStorage(url)
    locked = _locked_errors(storage.engine)
    study = optuna.load_study(
        study_name=storage.get_study_name_from_id(study_id),
        storage=storage,
        sampler=optuna.samplers.RandomSampler(),
    )
    for _ in range(count):
        trial = study.ask()
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        for step in range(1, REPORTS + 1):
            trial.report(lr / step, step)
        study.tell(trial, lr)
    return len(locked)


def _locked_errors(engine: Engine) -> list[str]:
    """What the driver says of locks from now on, whoever catches it."""
    said: list[str] = []

    def note(context: ExceptionContext) -> None:
        if "locked" in str(context.original_exception):
            said.append(str(context.original_exception))

    event.listen(engine, "handle_error", note)
    return said


def claims(url: str, study_id: int, count: int) -> None:
    """Claim the study's one trial each time that a line comes; answer with the token, or none."""
    with open_storage(url) as storage:
        worker = register(storage, study_id)
        for _ in range(count):
            seconds = float(sys.stdin.readline())
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
            found = claim(storage, worker, 1, places=1, max_attempts=count * 2)
            print(json.dumps([lease.token for lease in found.leases]), flush=True)  # noqa: T201


def main() -> None:
    optuna.logging.set_verbosity(logging.WARNING)
    kind, url, study_id, count = sys.argv[1:]
    if kind == "claims":
        claims(url, int(study_id), int(count))
    else:
        work = {"ours": ours, "optuna": plain}[kind]
        print(json.dumps({"locked": work(url, int(study_id), int(count))}))  # noqa: T201


if __name__ == "__main__":
    main()
