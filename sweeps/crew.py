"""`sweeps run --workers N`: N processes of this machine on one study, and who looks after them.

Each is `sweeps worker`, with one thread on a CPU, started ahead of time by `sweeps.starting`, in a
place that starts it again when it dies; one that ends with an error ends all. SIGINT or SIGTERM
here is passed on as SIGINT: each worker drains; a second one kills them. When this process is
killed, its workers see the end of their standard input and drain.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from optuna.trial import FrozenTrial, TrialState

from studies import Order, OutOfReachError, UserError, queries
from studies.pulse import read_pulse
from studies.retrying import at_most
from sweeps.budget import Spent
from sweeps.config import read_config
from sweeps.control import ended_by, note
from sweeps.counts import exhausted, make_budget, make_progress
from sweeps.device import resolve_device
from sweeps.logs import event
from sweeps.member import Member, draining
from sweeps.numbers import Numbers
from sweeps.plan import plan
from sweeps.progress import Running

if TYPE_CHECKING:
    from sweeps.launch import OpenSweep
    from sweeps.place import Tended

LOOK_SECONDS = 0.02
SHOW_SECONDS = 0.5
REACH_SECONDS = 1.0  # for the study DB to answer: this process must tend the others meanwhile
OUT_OF_REACH = "the study DB is out of reach; the workers try again"


class Crew:
    """Runs a sweep with its processes: `with Crew(sweep, places, ...) as crew: crew.run()`.

    `leads`: this is `sweeps run`; else `sweeps worker --count N`, which joins one.
    """

    def __init__(
        self,
        sweep: OpenSweep,
        places: Sequence[Tended],
        changed: Callable[[], None],
        *,
        lease_seconds: float,
        warn: Callable[[str], None],
        leads: bool = True,
    ) -> None:
        self._sweep, self._places, self._changed = sweep, places, changed
        self._leads = leads
        self._warn, self._warned = warn, set[str]()
        device = resolve_device(sweep.spec.device)
        self._member = Member(
            sweep, device=device, lanes=0, leads=leads, lease_seconds=lease_seconds
        )
        self._draining = False
        self._before = _ended(sweep.study.get_trials(deepcopy=False))
        self._shown = 0.0
        self.progress = make_progress(sweep)

    def __enter__(self) -> Self:
        """Lead the sweep.

        Raises:
            UserError: another live process does.
        """
        with ExitStack() as stack:
            stack.enter_context(self._member)
            self._member.beating(lambda _: None, self.drain, self._changed, self._obey)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def drained(self) -> bool:
        """Whether a signal or a command ended the run before the budget was met."""
        return self._draining

    def run(self) -> str:
        """Let the workers train until they end; return why they did.

        Raises:
            SweeplaneError: one ended with an error, or died again and again; or the study was
                deleted.
        """
        try:
            with self._member.present():
                if self._leads:
                    plan(self._sweep)
                with draining(self.drain, lambda _: self._send(signal.SIGKILL)):
                    self._watch()
                return self._why_ended()
        except BaseException:
            self._member.ending = "failed"
            self._send(signal.SIGKILL)
            raise

    def _why_ended(self) -> str:
        order = self._member.last_order()
        errors = [place.error for place in self._places if place.error is not None]
        if order.ends:  # a worker that came too late was refused for that
            errors = [error for error in errors if not isinstance(error, UserError)]
            self._draining = True
        if errors:
            raise errors[0]
        if self._draining:
            return ended_by(order)
        trials = self._sweep.study.get_trials(deepcopy=False)
        spent = Spent()
        spent.look(trials)
        met = make_budget(self._sweep.spec).met(spent, self._member.elapsed())
        met = met or exhausted(self._sweep, trials)
        if met or self._leads:
            self._member.ending = "finished"
        return met or "the workers have ended"

    def _watch(self) -> None:
        stopping = False
        while not all(place.over for place in self._places):
            failed = any(place.error is not None for place in self._places)
            if (self._draining or failed) and not stopping:
                stopping = True
                self._send(signal.SIGINT)
            for place in self._places:
                place.tend(drain=stopping)
                if place.said:
                    event(place.said)
                    self.progress.note, place.said = place.said, ""
                self._pass_on(place.warnings)
            if time.monotonic() - self._shown >= SHOW_SECONDS:
                self._show()
            time.sleep(LOOK_SECONDS)
        self._show()

    def _pass_on(self, warnings: Iterable[str]) -> None:
        """Warn of what workers said, once where several said the same."""
        for text in warnings:
            if text not in self._warned:
                self._warned.add(text)
                self._warn(text)

    def _show(self) -> None:
        """Bring `progress` up to date from the study DB; without it, say that the workers wait."""
        sweep, progress = self._sweep, self.progress
        try:
            with at_most(REACH_SECONDS):
                trials = sweep.study.get_trials(deepcopy=False)
                workers = queries.trained_by(sweep.storage, sweep.study_id)
                pulse = read_pulse(sweep.storage, sweep.study_id)
        except OutOfReachError:
            progress.note = progress.note or OUT_OF_REACH
            self._shown = time.monotonic()
            return
        if progress.note == OUT_OF_REACH:
            progress.note = ""
        said = {w.process.name: Numbers.from_json(numbers) for w, numbers in pulse.workers}
        progress.read_numbers = lambda: said
        ended = _ended(trials)
        if len(ended) - len(self._before) != progress.outcomes.total():
            self._changed()
        progress.outcomes = Counter(
            name for number, name in ended.items() if number not in self._before
        )
        progress.running = {
            trial.number: _running(trial, workers.get(trial.number, ""))
            for trial in trials
            if trial.state == TrialState.RUNNING
        }
        for number in ended:
            if trials[number].state == TrialState.COMPLETE:
                progress.saw(number, trials[number].values[0])
        self._shown = time.monotonic()

    def drain(self) -> None:
        """Let each worker end its epoch, hand its trial back, and end."""
        self._draining = True
        self.progress.note = "draining: each worker ends its epoch and hands its trial back"

    def _obey(self, order: Order) -> None:
        if order.ends:
            self._draining = True
        self.progress.told(note(self._sweep.study.study_name, order))

    def _send(self, number: signal.Signals) -> None:
        for place in self._places:
            place.send(number)


def _ended(trials: list[FrozenTrial]) -> dict[int, str]:
    """Return how each finished trial ended, by number."""
    return {
        trial.number: trial.user_attrs.get("outcome", trial.state.name.lower())
        for trial in trials
        if trial.state.is_finished()
    }


def _running(trial: FrozenTrial, worker: str) -> Running:
    curve = trial.intermediate_values
    epoch = max(curve, default=0)
    if "config" not in trial.user_attrs:
        return Running("being drawn", 0, worker=worker)
    config = read_config(trial.user_attrs["config"])
    return Running(config.title, config.epochs, epoch, curve.get(epoch), worker)
