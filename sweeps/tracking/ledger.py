"""The runs of one sweep in one store: each made once, and found again after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from studies import exports
from sweeps.tracking import runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from studies import Sweep
    from studies.exports import Target
    from sweeps.tracking.changes import Change

_RUNS_A_PAGE = 1000
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such run; a deleted one


class Ledger:
    """Ties rows of `exports` to runs; one object a pass, since the store may change between two."""

    def __init__(self, client: MlflowClient, experiment: str, target: Target, sweep: Sweep) -> None:
        self._client, self._experiment = client, experiment
        self._target, self._sweep = target, sweep
        self._unclaimed: dict[int | None, list[Run]] | None = None
        self.made = 0

    def get(self, run_id: str) -> Run | None:
        """Return a run that is in the store and not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def parent(self) -> str:
        """Return the id of the sweep's parent run; make it when the store has none."""
        export = exports.read(self._target, None)
        if export is not None and export.run_id:
            if self.get(export.run_id) is not None:
                return export.run_id
            # Deleted, or another store stands at this address: every run is looked for again.
            exports.forget(self._target)
        exports.begin(self._target, [None])
        self._unclaimed = None
        self.look_for_runs()
        return self._make_parent()

    def look_for_runs(self) -> None:
        """Find the sweep's runs in the store by their tags, for `claim`."""
        if self._unclaimed is not None:
            return
        self._unclaimed = {}
        wanted = runs.sweep_key(self._sweep).replace("'", "''")
        token: str | None = None
        while token != "":
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`{runs.SWEEP_TAG}` = '{wanted}'",
                max_results=_RUNS_A_PAGE,
                page_token=token,
            )
            for run in page:
                number = run.data.tags.get(runs.TRIAL_TAG)
                place = None if number is None else int(number)
                self._unclaimed.setdefault(place, []).append(run)
            token = page.token or ""

    def _make_parent(self) -> str:
        found = self.claim(None, start := runs.millis(self._sweep.created_at))
        run_id = found or str(
            self._client.create_run(
                self._experiment, start, runs.sweep_tags(self._sweep), self._sweep.name
            ).info.run_id
        )
        if exports.assign(self._target, None, run_id):
            self.made += not found
            return run_id
        export = exports.read(self._target, None)
        stored = "" if export is None else export.run_id
        if stored != run_id:
            self._client.delete_run(run_id)  # another process was faster
        return stored

    def claim(self, number: int | None, start: int) -> str:
        """Return the run that `look_for_runs` found for a trial, or '' (None: the parent's).

        Args:
            number: the trial's.
            start: of the trial's present curve, in milliseconds since the epoch; the runs of
                earlier ones are deleted.
        """
        claimed = ""
        for run in (self._unclaimed or {}).pop(number, []):
            if not claimed and run.info.start_time == start:
                claimed = str(run.info.run_id)
            else:
                self._client.delete_run(run.info.run_id)  # of an earlier attempt
        return claimed

    def settle(self, changes: Sequence[Change]) -> set[int]:
        """Note that changes are in the store; return the trials that have another run by now.

        A run that is new here is deleted when another process has stored its own first.
        """
        steps = [
            exports.Step(c.trial_id, c.known_as, c.run_id, c.last_step, c.closed) for c in changes
        ]
        lost = exports.settle(self._target, steps)
        for change in changes:
            if change.trial_id in lost and not change.known_as:
                self._client.delete_run(change.run_id)
        return lost

    def link_children(self, parent_id: str) -> None:
        """Point the child runs to a parent run that has taken another one's place."""
        from mlflow.exceptions import MlflowException

        export = exports.read(self._target, None)
        if export is None or export.last_step != exports.PARENT_UNLINKED:
            return
        for run_id in exports.run_ids(self._target):
            try:
                self._client.set_tag(run_id, runs.PARENT_TAG, parent_id)
            except MlflowException as error:
                if error.error_code not in _GONE:
                    raise
        exports.advance(self._target, None, parent_id, 0, closed=False)
