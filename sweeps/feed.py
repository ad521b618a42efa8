"""`StudyFeed`: the study as an engine sees it. Optuna's ask, report and tell end here.

    take     claim trials: of workers that died, that wait, or new ones (`sweeps.asking`)
    report   store the points, then ask the pruner, the clocks and the drain
    finish   one way to end a trial: outcome, value, reason, in one transaction

A non-finite objective never reaches a pruner. A diverged trial is PRUNED with the constraint
`diverged` = 1, from which samplers learn where not to ask (`sweeps.sampling`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial

from studies import Claim, Finish, Holding, Order, Report
from studies.roster import live_workers
from sweeps.asking import Asked, Asker, seeds_of
from sweeps.breaker import Breaker
from sweeps.budget import Spent
from sweeps.crowd import share_at_once
from sweeps.engines.base import Ending, Outcome, Outlook, Point, Trial
from sweeps.feed_rules import FeedRules
from sweeps.logs import event
from sweeps.outcomes import Held, to_finish
from sweeps.progress import Progress, Running
from sweeps.pruning import stopped
from sweeps.resuming import Begun, Resuming

DRAINED = "drained"
NOTHING_LEFT = "nothing is left to run"
LOST = "lost"  # another process ended or took the trial; nothing more of it is written
WAIT_SECONDS = 0.2  # between two looks at what other workers have left


class StudyFeed:
    """Feeds one engine from one study.

    `asker` claims and draws trials under the leases of `holding`, `resuming` keeps their
    checkpoints, `exhausted` says in words that the space has no new point (a grid), `elapsed` is
    the sweep's wall clock in seconds, and `changed` is called when the study DB has something new.
    After `idle_exit` seconds without a trial it ends.
    """

    def __init__(
        self,
        study: optuna.Study,
        holding: Holding,
        rules: FeedRules,
        *,
        asker: Asker,
        resuming: Resuming,
        exhausted: Callable[[Sequence[FrozenTrial]], str | None],
        elapsed: Callable[[], float],
        progress: Progress,
        changed: Callable[[], None],
        idle_exit: float = math.inf,
    ) -> None:
        self._study, self._holding, self._rules = study, holding, rules
        self._storage = holding.storage
        self._asker, self._resuming, self._exhausted = asker, resuming, exhausted
        self._elapsed, self._progress, self._changed = elapsed, progress, changed
        self._held: dict[int, Held] = {}  # by number
        self._breaker = Breaker(self._storage, study._study_id, study.study_name, rules.failures)
        self._spent = Spent()
        self._draining = self._paused = self.was_idle = False
        self._idle_exit = idle_exit
        self.ended: str | None = None

    def drain(self, until: float = math.inf) -> None:
        """Let running trials end their epoch, hand them back and give out no more.

        `until`, by `time.monotonic`: checkpoints that are not written then are left.
        """
        self._draining = True
        self._resuming.until = until

    def obey(self, order: Order) -> None:
        """Do what the study says: wait without a trial while it is paused, drain at its end."""
        self._paused = order.control == "pause"
        if order.ends:
            self._draining = True

    @property
    def idle(self) -> bool:
        """Whether every trial that is in training is lost."""
        return bool(self._held) and all(held.stop == LOST for held in self._held.values())

    def abandon(self) -> None:
        """Let go of the trials that an engine was training when it was interrupted or cut."""
        self.finish([Outcome(number, Ending.STOPPED, 0, 0.0, 0.0) for number in self._held])

    def lose(self, trial_ids: Collection[int]) -> None:
        """Stop trials that another worker holds by now; nothing more of them is written."""
        for held in list(self._held.values()):
            if held.trial_id in trial_ids:
                held.stop = LOST

    def outlook(self) -> Outlook:
        """Return this worker's share of what may still begin, as many as live."""
        rules, study_id = self._rules, self._study._study_id
        self._spent.look(self._study.get_trials(deepcopy=False))
        taken = self._spent.ended + self._spent.running - len(self._held)
        workers = sum(worker.lanes > 0 for worker in live_workers(self._storage, study_id))
        trials = max(rules.budget.trials - taken, 0) / max(workers, 1)
        at_once = share_at_once(trials, learns=rules.learns)
        return Outlook(trials, max(rules.budget.time - self._elapsed(), 0), at_once)

    def take(self, n: int) -> list[Trial]:
        """Return trials to start; while others hold all that is left, wait for what they leave."""
        began = time.monotonic()
        while not self._draining:
            if not self._held and time.monotonic() - began >= self._idle_exit:
                self.was_idle, self.ended = True, f"no trial for {self._idle_exit:g} s"
                return []
            if self._paused:
                if self._held:
                    return []
                time.sleep(WAIT_SECONDS)
                continue
            trials = self._storage.glance(self._study._study_id, ())
            self._spent.look(trials)
            self.ended = self._rules.budget.met(self._spent, self._elapsed())
            if self.ended is not None:
                return []
            self._breaker.refuse_more(self._spent.failed)
            asked, claim = self._asker.take(n)
            self._heed(claim)
            if given := self._given(asked):
                return given
            if self._held:
                return []
            if claim.order.control == "run" and not claim.leases and not claim.given_up:
                if not claim.elsewhere:
                    self.ended = self._nothing_left(claim)
                    return []
                time.sleep(WAIT_SECONDS)
        return []

    def _heed(self, claim: Claim) -> None:
        if claim.order.control != "run":  # it may be older than what a heartbeat has heard
            self.obey(claim.order)
        self._progress.outcomes.update(["failed"] * len(claim.given_up))
        for number in claim.given_up:
            self._resuming.end(number, over=True)

    def report(self, points: Sequence[Point]) -> set[int]:
        rows = []
        for point in points:
            values = dict(point.values)
            objective = values.pop(self._rules.metric)
            rows.append(Report(self._held[point.number].trial_id, point.epoch, objective, values))
        self.lose(self._storage.report(rows, self._holding.fence))
        for point in points:
            objective = point.values[self._rules.metric]
            held = self._held[point.number]
            held.curve[point.epoch] = objective
            held.stop = held.stop or self._reason_to_stop(point.seconds)
            self._progress.running[point.number].epoch = point.epoch
            self._progress.running[point.number].value = objective
        self._prune(points)
        for point in points:
            if (stop := self._held[point.number].stop) in (None, DRAINED):
                self._resuming.offer(point, leaving=stop == DRAINED)
        self._changed()
        return {point.number for point in points if self._held[point.number].stop is not None}

    def to_stop(self, seconds: Mapping[int, float]) -> set[int]:
        for number, so_far in seconds.items():
            self._held[number].stop = self._held[number].stop or self._reason_to_stop(so_far)
        return {number for number in seconds if self._held[number].stop is not None}

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        fence, held = self._holding.fence, self._held
        for outcome in outcomes:
            if outcome.ending is Ending.STOPPED and self._draining:  # it may have been cut
                held[outcome.number].stop = held[outcome.number].stop or DRAINED
        self._hand_back([o for o in outcomes if self._stopped(o, DRAINED)])
        ended = [o for o in outcomes if not self._stopped(o, DRAINED, LOST)]
        tests = [Report(held[o.number].trial_id, o.epochs, None, o.test) for o in ended if o.test]
        if tests:
            self._storage.report(tests, fence)
        over = set()
        if ended:
            take, maximize = self._rules.take, self._rules.maximize
            rows = [to_finish(o, held[o.number], take=take, maximize=maximize) for o in ended]
            refused = self._storage.finish(rows, fence)
            for outcome, row in zip(ended, rows, strict=True):
                if row.trial_id not in refused:
                    over.add(outcome.number)
                    self._count(outcome, row)
        self._drop([outcome.number for outcome in outcomes], over)
        self._breaker.check()

    def _hand_back(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._resuming.leave(outcome)
            event("trial handed back", trial=outcome.number, epochs=outcome.epochs)
        if back := [self._held[outcome.number].trial_id for outcome in outcomes]:
            self._storage.hand_back(self._study._study_id, back, self._holding.fence)

    def _drop(self, numbers: Sequence[int], over: Collection[int] = ()) -> None:
        """Forget trials; of those that are `over` nothing is kept."""
        for number in numbers:
            self._resuming.end(number, over=number in over)
            self._progress.running.pop(number, None)
            self._holding.drop(self._held.pop(number).trial_id)
        self._changed()

    def _nothing_left(self, claim: Claim) -> str:
        self._spent.look(trials := self._storage.glance(self._study._study_id, ()))
        if (met := self._rules.budget.met(self._spent, self._elapsed())) is not None:
            return met  # others have ended their trials since the look before the claim
        return self._rules.budget.full() if claim.full else self._exhausted(trials) or NOTHING_LEFT

    def _given(self, asked: Sequence[Asked]) -> list[Trial]:
        """Return the trials to train, those that were begun before from where they go on."""
        origins = {each.trial_id: each.origin for each in asked}
        seed, repeats = self._rules.seed, self._rules.repeats
        trials = {}
        for each in asked:
            trial = Trial(each.number, each.config, seeds_of(seed, each.number, repeats))
            trials[each.trial_id] = Begun(trial, each.curve)
        given = []
        for trial_id, begun in self._resuming.begin(trials).items():
            trial, curve = begun.trial, dict(begun.curve)
            prunable = origins[trial_id] != "baseline"
            self._held[trial.number] = Held(trial_id, trial.seeds, prunable, curve)
            epoch = max(curve, default=0)
            running = Running(trial.config.title, trial.config.epochs, epoch, curve.get(epoch))
            self._progress.running[trial.number] = running
            event("trial taken", trial=trial.number, epoch=epoch, config=trial.config.title)
            given.append(trial)
        return given

    def _reason_to_stop(self, seconds: float) -> str | None:
        if self._draining or self._paused:
            return DRAINED
        if (out_of_time := self._rules.budget.out_of_time(self._elapsed())) is not None:
            self.ended = out_of_time
            return DRAINED
        if seconds >= self._rules.trial_seconds:
            return f"{self._rules.trial_seconds:.0f} s of training (budget.trial_time)"
        return None

    def _prune(self, points: Sequence[Point]) -> None:
        epochs = {
            point.number: point.epoch
            for point in points
            if not point.diverged
            and point.epoch >= self._rules.min_epochs
            and self._held[point.number].stop in (None, DRAINED)
            and self._held[point.number].prunable
        }
        for number in stopped(self._study, self._storage, list(epochs), self._holding.fence):
            self._held[number].stop = f"pruned at epoch {epochs[number]}"

    def _stopped(self, outcome: Outcome, *reasons: str) -> bool:
        return outcome.ending is Ending.STOPPED and self._held[outcome.number].stop in reasons

    def _count(self, outcome: Outcome, finish: Finish) -> None:
        name = finish.user_attrs["outcome"]
        self._progress.outcomes[name] += 1
        if name == "complete" and finish.values:
            self._progress.saw(outcome.number, finish.values[0])
        value = finish.values[0] if finish.values else None
        more = {"outcome": name, "epochs": outcome.epochs, "value": value, "error": outcome.error}
        event("trial ended", trial=outcome.number, **more)
        self._breaker.saw(name, outcome.error)
