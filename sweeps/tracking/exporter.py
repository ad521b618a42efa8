"""One pass from the study DB to MLflow: everything that the store does not have yet.

    intent (exports row)  ->  run made, its id stored  ->  params and metrics  ->  status, closed

A pass may be killed anywhere and the next one goes on. An intent without a run id is looked for
by its tags before a run is made for it. A trial that goes on where its curve ends goes on in its
run, under the same start. When it has lost a part of its curve, its start has moved: the old run
is deleted in MLflow (where it can be restored) and another one takes its place, since MLflow has
no call that takes points out of a run. While it waits, its run is SCHEDULED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies import UserError, exports, get_sweep, mask_passwords, queries
from sweeps.tracking import parent, runs, store
from sweeps.tracking.ledger import Ledger
from sweeps.tracking.numbers import WorkerNumbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from studies import StudyStorage, Sweep
    from studies.exports import Export, Pending

BATCH = 200  # trials read from the study DB at once
_HELD = -1  # in place of an attempt's start: the trial waits, and its run says so


@dataclass(frozen=True)
class Synced:
    """What a pass added to MLflow."""

    runs: int
    metrics: int


class Exporter:
    """Passes over one sweep for one store; after a failed one, make another `Exporter`.

    Raises:
        UserError: the URI cannot be MLflow's, or the study is no sweep.
    """

    def __init__(self, storage: StudyStorage, study_name: str, tracking_uri: str) -> None:
        store.check_uri(tracking_uri)
        self._storage, self._name, self._uri = storage, study_name, tracking_uri
        self._sweep = self._read_sweep()
        key = mask_passwords(store.absolute(tracking_uri))
        self._target = exports.Target(storage, self._sweep.study_id, key)
        self._opened: MlflowClient | None = None
        self._experiment = ""
        self._parent = ""
        self._attempts: dict[int, int] = {}  # trial id -> start of the attempt that its run has
        self._metrics = 0
        self._numbers = WorkerNumbers(storage)

    def run(self, *, refresh: bool = True) -> Synced:
        """Copy what is new; `refresh`: the parent run's summary too, which reads every trial."""
        self._metrics = 0
        self._sweep = self._read_sweep()
        if not self._experiment:
            folder = store.artifact_folder(self._uri)
            self._experiment = store.find_experiment(self._client, self._name, folder)
        ledger = Ledger(self._client, self._experiment, self._target, self._sweep)
        self._parent = self._parent or ledger.parent()
        ledger.link_children(self._parent)
        self._follow_trials(ledger)
        if refresh:
            self._refresh_parent(ledger)
        if points := self._numbers.due(self._sweep):
            self._log(self._parent, points, {}, {})
        return Synced(ledger.made, self._metrics)

    @property
    def _client(self) -> MlflowClient:
        if self._opened is None:
            self._opened = store.open_client(self._uri)
        return self._opened

    def _read_sweep(self) -> Sweep:
        sweep = get_sweep(self._storage, self._name)
        if sweep is None:
            raise UserError(f"study '{self._name}' has no sweep to follow; see `sweeps list`")
        return sweep

    # Trials.

    def _follow_trials(self, ledger: Ledger) -> None:
        after = 0
        while items := exports.pending(self._target, self._name, after=after, limit=BATCH):
            ready = [item for item in items if not _is_being_drawn(item)]
            new = exports.begin(
                self._target, [item.trial.trial_id for item in ready if item.export is None]
            )
            for item in ready:
                self._follow(ledger, item, is_new=item.trial.trial_id in new)
            after = items[-1].trial.trial_id

    def _follow(self, ledger: Ledger, item: Pending, *, is_new: bool) -> None:
        trial = item.trial
        export = item.export or exports.read(self._target, trial.trial_id)
        if export is None:
            return  # the trial was deleted
        waits = trial.state == "WAITING"
        if waits and self._attempts.get(trial.trial_id) == _HELD:
            return
        if waits and trial.started is None:  # it has no curve
            self._hold(ledger, trial.trial_id, export)
            return
        start = runs.started(trial)
        known = self._attempts.get(trial.trial_id) == start
        if export.run_id and not known:
            run = ledger.get(export.run_id)
            if run is None or run.info.start_time != start:
                self._start_anew(ledger, trial.trial_id, export, in_store=run is not None)
                return
            if run.info.status == runs.WAITING_STATUS and not waits:
                self._client.update_run(export.run_id, runs.RUNNING_STATUS)
                self._client.set_tag(export.run_id, "outcome", trial.outcome)
        if not is_new and not export.run_id:
            ledger.look_for_runs()
        run_id = export.run_id or ledger.make(
            trial.trial_id,
            trial.number,
            runs.run_name(trial),
            start,
            runs.trial_tags(self._sweep, trial, self._parent),
        )
        self._copy(item, run_id, export.last_step, with_params=not known)
        self._attempts[trial.trial_id] = start
        if waits:
            self._say_waiting(trial.trial_id, run_id)

    def _copy(self, item: Pending, run_id: str, last_step: int, *, with_params: bool) -> None:
        trial = item.trial
        ended = trial.state in runs.STATUS
        points = runs.points(trial, item.curves)
        last = max([last_step, *(point.step for point in points)])
        if ended:
            points += runs.final_points(trial)
        self._log(
            run_id,
            points,
            runs.params(trial) if with_params else {},
            runs.outcome_tags(trial) if ended else {},
        )
        if ended:
            end = runs.started(trial) if trial.completed is None else runs.millis(trial.completed)
            self._client.set_terminated(run_id, runs.end_status(trial), end)
        if ended or last > last_step:
            exports.advance(self._target, trial.trial_id, run_id, last, closed=ended)

    def _hold(self, ledger: Ledger, trial_id: int, export: Export) -> None:
        if not export.run_id:
            return
        if ledger.get(export.run_id) is None:
            exports.reset(self._target, trial_id, export.run_id)
        else:
            self._say_waiting(trial_id, export.run_id)

    def _say_waiting(self, trial_id: int, run_id: str) -> None:
        self._client.update_run(run_id, runs.WAITING_STATUS)
        self._client.set_tag(run_id, "outcome", "waiting")
        self._attempts[trial_id] = _HELD

    def _start_anew(self, ledger: Ledger, trial_id: int, export: Export, *, in_store: bool) -> None:
        if in_store:
            self._client.delete_run(export.run_id)
        exports.reset(self._target, trial_id, export.run_id)
        for again in exports.pending(self._target, self._name, after=trial_id - 1, limit=1):
            self._follow(ledger, again, is_new=True)

    # The parent.

    def _refresh_parent(self, ledger: Ledger) -> None:
        export = exports.read(self._target, None)
        rows = queries.leaderboard(self._storage, self._name)
        ended = parent.finished(rows)
        status = parent.STATUS.get(self._sweep.status, "RUNNING")
        over = status != "RUNNING"
        if export is None or (export.closed and over and len(ended) == export.last_step):
            return
        best = parent.best(rows)
        params = runs.params(best) if best and self._sweep.status == "finished" else {}
        if params and self._contradicts(params):
            self._replace_parent(ledger)
            return
        facts = queries.status(self._storage, self._name)
        maximize = facts.direction == "maximize"
        points = parent.points(ended, facts.metric, maximize=maximize, after=export.last_step)
        self._log(self._parent, points, params, parent.tags(self._sweep, facts, rows))
        if over:
            end = runs.millis(self._sweep.updated_at)
            self._client.set_terminated(self._parent, status, end)
        elif export.closed:
            self._client.update_run(self._parent, status)
        # Last: a store may take runs and refuse files.
        for name, text in (
            ("sweep.yaml", self._sweep.record.spec_text),
            ("leaderboard.json", parent.as_json(rows)),
            ("leaderboard.csv", parent.as_csv(rows)),
        ):
            self._client.log_text(self._parent, text, name)
        exports.advance(self._target, None, self._parent, len(ended), closed=over)

    def _contradicts(self, params: dict[str, str]) -> bool:
        """Whether the parent has other params: those of an earlier best configuration."""
        run = self._client.get_run(self._parent)
        return not run.data.params.items() <= params.items()

    def _replace_parent(self, ledger: Ledger) -> None:
        self._client.delete_run(self._parent)
        exports.reset(self._target, None, self._parent)
        self._parent = ledger.parent()
        ledger.link_children(self._parent)
        self._refresh_parent(ledger)

    def _log(
        self,
        run_id: str,
        points: Sequence[runs.Point],
        params: dict[str, str],
        tags: dict[str, str],
    ) -> None:
        """Write in as few calls as MLflow's limits allow (1,000 metrics, 100 params and tags)."""
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            [Metric(p.key, p.value, p.timestamp, p.step) for p in points],
            [Param(name, value) for name, value in params.items()],
            [RunTag(name, value) for name, value in tags.items()],
            synchronous=True,
        )
        self._metrics += len(points)


def _is_being_drawn(item: Pending) -> bool:
    """Whether the trial has started and its configuration is not in the study DB yet."""
    trial = item.trial
    return trial.state == "RUNNING" and trial.config is None and item.export is None
