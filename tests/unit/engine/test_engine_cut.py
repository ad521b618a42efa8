"""A trial that is cut in the middle of an epoch goes on elsewhere from where that epoch began."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from lane_training import LOSS, assert_equal, in_lanes, mixed, serially
from serial_training import ListFeed, config, task_of

from sweeps.control import Interruptible, interrupt
from sweeps.engines import replica
from sweeps.engines.base import Ending, Engine, Outcome, Point, State, Trial
from sweeps.engines.lanes.engine import LanesEngine
from sweeps.engines.lanes.stepping import Step, Stepper
from sweeps.engines.replica import Replica
from sweeps.engines.serial import SerialEngine

EPOCHS, BATCH = 5, 16


@pytest.fixture(autouse=True)
def always_worth_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "WORTH_SECONDS", 1e-9)


class Leaver(ListFeed):
    """Interrupts its engine in the training step `step` (from 1, lanes take theirs together) after
    the report number `reports`; from then on it drains, and takes the state of whatever leaves.
    """

    def __init__(self, *trials: Trial, reports: int, step: int) -> None:
        super().__init__(*trials)
        self._reports, self._left = reports, step
        self.states: dict[int, State] = {}

    def stepped(self) -> None:
        """A step has been taken."""
        if self._reports == 0:
            self._left -= 1
            if self._left == 0:
                interrupt()

    def report(self, points: Sequence[Point]) -> set[int]:
        super().report(points)
        if self._left > 0:
            self._reports -= 1
            return set()
        for point in points:
            if point.state is not None:
                self.states[point.number] = copy.deepcopy(point.state())
        return {point.number for point in points}

    def take(self, n: int) -> list[Trial]:
        return super().take(n) if self._left > 0 else []

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.state is not None:
                self.states[outcome.number] = copy.deepcopy(outcome.state())
        super().finish(outcomes)


def cut(engine: Engine, leaver: Leaver) -> dict[int, State]:
    """Train until the cut; return the state of each trial then."""
    in_lanes, alone = Stepper.epoch, Replica._step

    def step_in_lanes(stepper: Stepper, *args: Any, **more: Any) -> Iterator[Step]:
        for step in in_lanes(stepper, *args, **more):
            yield step
            leaver.stepped()

    def step_alone(replica: Replica, *args: Any) -> Any:
        found = alone(replica, *args)
        leaver.stepped()
        return found

    feed = Interruptible(leaver, lambda: False, lambda: True)
    with pytest.MonkeyPatch.context() as patched, feed.listening():
        patched.setattr(Stepper, "epoch", step_in_lanes)
        patched.setattr(Replica, "_step", step_alone)
        engine.run(lambda _: task_of("iris-mlp"), feed)
    assert {outcome.ending for outcome in leaver.outcomes} == {Ending.STOPPED}
    return leaver.states


def gone_on(leaver: Leaver, rest: ListFeed) -> ListFeed:
    rest.points[:0] = leaver.points
    return rest


def steps() -> int:
    """Of an epoch."""
    return len(task_of("iris-mlp").train[0]) // BATCH


def trial(number: int, **changes: Any) -> Trial:
    return Trial(number, config(epochs=EPOCHS, batch_size=BATCH, **changes), (number, number + 50))


def test_the_serial_engine_goes_back_to_where_the_epoch_began() -> None:
    chosen = trial(3, average="ema", schedule="plateau")
    leaver = Leaver(chosen, reports=2, step=steps() + 2)  # in its second repeat
    states = cut(SerialEngine("cpu", "float64", LOSS), leaver)
    assert (states[3].epoch, len(leaver.points)) == (2, 2)
    task = task_of("iris-mlp")
    rest = serially(task, ListFeed(replace(chosen, start=states[3])))
    assert_equal(gone_on(leaver, rest), serially(task, ListFeed(chosen)), tolerance=0)


def test_a_first_epoch_that_is_cut_has_no_state() -> None:
    leaver = Leaver(trial(0), reports=0, step=2)
    assert cut(SerialEngine("cpu", "float64", LOSS), leaver) == {}
    assert [outcome.epochs for outcome in leaver.outcomes] == [0]


def test_what_was_not_worth_a_copy_has_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "WORTH_SECONDS", 60.0)
    for engine in (SerialEngine("cpu", "float64", LOSS), LanesEngine("cpu", "float64", LOSS, 1)):
        leaver = Leaver(trial(0), reports=2, step=2)
        assert cut(engine, leaver) == {}
        assert [outcome.epochs for outcome in leaver.outcomes] == [2]


# In each epoch the lanes take their steps first, then the model that trains by itself.
@pytest.mark.parametrize("step", [2, steps() + 2, 2 * steps() + 1])
def test_lanes_go_back_and_what_has_ended_its_epoch_is_reported(step: int) -> None:
    trials = mixed(4, epochs=EPOCHS, batch_size=BATCH)
    trials.append(trial(4, optimizer="torch.optim.NAdam"))
    leaver = Leaver(*trials, reports=2, step=step)
    states = cut(LanesEngine("cpu", "float64", LOSS, 8, compiling=False), leaver)
    in_a_lane = 2 if step <= steps() else 3
    assert {number: state.epoch for number, state in states.items()} == {
        **dict.fromkeys(range(4), in_a_lane),
        4: 2,
    }
    task, rest = task_of("iris-mlp"), ListFeed()
    rest.waiting = [replace(each, start=states[each.number]) for each in trials]
    in_lanes(task, rest, 8, compiling=False)
    calm = ListFeed(*trials)
    in_lanes(task, calm, 8, compiling=False)
    assert_equal(gone_on(leaver, rest), calm)
