"""MLflow follows the study DB: a copy of what is new there, which training never waits for.

    store.py      which store a tracking URI means, the client on it, the sweep's experiment
    runs.py       a trial as a run: its name, params, tags, metrics, status
    parent.py     the sweep as the parent run: best so far, counts, description, artifacts
    ledger.py     the sweep's runs in the store, each made once
    changes.py    what is new about a trial's run
    writers.py    how it gets into the store; sqlite_writer.py: into a SQLite file, in bulk
    exporter.py   one pass: everything that the store does not have yet
    follower.py   passes on a background thread

One experiment a sweep, one parent run, one child run a trial. MLflow is imported when a client is
first opened (1.5 s), never by `import sweeps.tracking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.tracking.follower import Follower
from sweeps.tracking.store import check_uri

if TYPE_CHECKING:
    from studies import StudyStorage
    from sweeps.tracking.exporter import Synced

__all__ = ["Follower", "check_uri", "sync"]


def sync(storage: StudyStorage, study_name: str, tracking_uri: str) -> Synced:
    """Copy to MLflow what it does not have of a sweep; everything, when it has nothing.

    Repeating it adds nothing: runs are found again by their tags, and a metric's timestamp
    follows from the trial's start.

    Raises:
        UserError: the URI cannot be MLflow's, or there is no such sweep.
        mlflow.exceptions.MlflowException, OSError: the store cannot be reached or refuses.
    """
    from sweeps.tracking.exporter import Exporter

    return Exporter(storage, study_name, tracking_uri).run()
