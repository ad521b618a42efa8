"""One pass from the study DB to MLflow: everything that the store does not have yet.

    intents (exports rows)  ->  runs: tags, params, points, status (writers.py)  ->  noted (exports)

It goes in batches of trials, and a pass may be killed anywhere: the next one goes on. An intent
without a run id is looked for by its tags before a run is made for it. What was written and not
noted is written again, which changes nothing. A trial that goes on where its curve ends goes on in
its run, under the same start. When it has lost a part of its curve, its start has moved: the old
run is deleted in MLflow (where it can be restored) and another one takes its place, since MLflow
has no call that takes points out of a run. While it waits, its run is SCHEDULED.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies import UserError, exports, get_sweep, mask_passwords, queries, unexported
from sweeps.tracking import changes, parent, runs, store, writers
from sweeps.tracking.ledger import Ledger
from sweeps.tracking.numbers import WorkerNumbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from studies import StudyStorage, Sweep
    from studies.exports import Export
    from studies.rows import TrialRow
    from studies.unexported import Pending
    from sweeps.tracking.changes import Change
    from sweeps.tracking.writers import Writer

Progress = Callable[[int, int], None]

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
        self._opened_writer: Writer | None = None
        self._experiment = ""
        self._parent = ""
        self._attempts: dict[int, int] = {}  # trial id -> start of the attempt that its run has
        self._runs = self._metrics = 0
        self._numbers = WorkerNumbers(storage)

    def run(self, *, refresh: bool = True, on_progress: Progress | None = None) -> Synced:
        """Copy what is new.

        Args:
            refresh: the parent run's summary too, which reads every trial.
            on_progress: called with the trials that are done and those there were to do.
        """
        self._runs = self._metrics = 0
        self._sweep = self._read_sweep()
        self.open()
        ledger = Ledger(self._client, self._experiment, self._target, self._sweep)
        self._parent = self._parent or ledger.parent()
        ledger.link_children(self._parent)
        self._follow_trials(ledger, on_progress)
        if refresh:
            self._refresh_parent(ledger)
        if points := self._numbers.due(self._sweep):
            writers.log(self._client, self._parent, points, {}, {})
            self._metrics += len(points)
        return Synced(ledger.made + self._runs, self._metrics)

    def open(self) -> None:
        """Open the store and find the experiment, if that is not done; imports MLflow."""
        if not self._experiment:
            folder = store.artifact_folder(self._uri)
            self._experiment = store.find_experiment(self._client, self._name, folder)

    @property
    def _client(self) -> MlflowClient:
        if self._opened is None:
            self._opened = store.open_client(self._uri)
        return self._opened

    @property
    def _writer(self) -> Writer:
        if self._opened_writer is None:
            self._opened_writer = writers.open_writer(self._client, self._uri, self._experiment)
        return self._opened_writer

    def _read_sweep(self) -> Sweep:
        sweep = get_sweep(self._storage, self._name)
        if sweep is None:
            raise UserError(f"study '{self._name}' has no sweep to follow; see `sweeps list`")
        return sweep

    # Trials.

    def _follow_trials(self, ledger: Ledger, on_progress: Progress | None) -> None:
        total = unexported.count(self._target) if on_progress else 0
        after = done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if on_progress:
                on_progress(min(done, total), total)

        while items := unexported.pending(
            self._target, self._name, after=after, limit=self._writer.batch
        ):
            ready = [item for item in items if not _is_being_drawn(item)]
            new = exports.begin(
                self._target, [item.trial.trial_id for item in ready if item.export is None]
            )
            found = [self._change(ledger, i, is_new=i.trial.trial_id in new) for i in ready]
            news = [change for change in found if change is not None]
            self._write(ledger, news, step)
            done += len(items) - len(news)
            after = items[-1].trial.trial_id

    def _write(self, ledger: Ledger, news: Sequence[Change], step: Callable[[], None]) -> None:
        """Write changes, and note those that are written, also when a later one is not."""
        written: list[Change] = []
        try:
            for change in self._writer.write(news):
                written.append(change)
                step()
            for change in written:
                writers.keep_output(self._client, change)
        finally:
            lost = ledger.settle(written)
        for change in written:
            waits = change.status == runs.WAITING_STATUS
            self._attempts[change.trial_id] = _HELD if waits else change.start
            self._metrics += len(change.points)
        for trial_id in lost:
            del self._attempts[trial_id]
        self._runs += sum(not change.run_id for change in news)

    def _change(self, ledger: Ledger, item: Pending, *, is_new: bool) -> Change | None:
        """What is new about a trial's run; None: nothing."""
        trial = item.trial
        export = item.export or (
            exports.INTENT if is_new else exports.read(self._target, trial.trial_id)
        )
        if export is None:
            return None  # the trial was deleted
        waits = trial.state == "WAITING"
        if waits and self._attempts.get(trial.trial_id) == _HELD:
            return None
        if waits and trial.started is None:  # it has no curve
            return self._hold(ledger, trial, export)
        start = runs.started(trial)
        known = self._attempts.get(trial.trial_id) == start
        waited = False
        if export.run_id and not known:
            run = ledger.get(export.run_id)
            if run is None or run.info.start_time != start:
                return self._start_anew(ledger, trial.trial_id, export, in_store=run is not None)
            waited = run.info.status == runs.WAITING_STATUS
        if export.run_id:
            return changes.of_run(item, export, known=known, waited=waited)
        if not is_new:
            ledger.look_for_runs()
        claimed = ledger.claim(trial.number, start)
        return changes.of_new_run(self._sweep, item, self._parent, claimed)

    def _hold(self, ledger: Ledger, trial: TrialRow, export: Export) -> Change | None:
        if not export.run_id:
            return None
        if ledger.get(export.run_id) is None:
            exports.reset(self._target, trial.trial_id, export.run_id)
            return None
        return changes.of_waiting_run(trial, export)

    def _start_anew(
        self, ledger: Ledger, trial_id: int, export: Export, *, in_store: bool
    ) -> Change | None:
        if in_store:
            self._client.delete_run(export.run_id)
        exports.reset(self._target, trial_id, export.run_id)
        again = unexported.pending(self._target, self._name, after=trial_id - 1, limit=1)
        return self._change(ledger, again[0], is_new=True) if again else None

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
        tags = parent.tags(self._sweep, facts, rows)
        writers.log(self._client, self._parent, points, params, tags)
        self._metrics += len(points)
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
            self._client.log_text(self._parent, runs.encodable(text), name)
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


def _is_being_drawn(item: Pending) -> bool:
    """Whether the trial has started and its configuration is not in the study DB yet."""
    trial = item.trial
    return trial.state == "RUNNING" and trial.config is None and item.export is None
