"""Random models, trials and events: every curve in lanes is the one that the trial has alone.

Left out by the strategies, since there rounding decides and not the engine:
- dropout (`test_lanes_statistics.py`);
- SOAP, whose bases rounding chooses where a gradient's covariance has not full rank;
- weights whose gradient is zero by structure (`Net.delicate`) under a rule that divides by the
  gradient's size or takes its sign, or counts signs (`cautious`): the step is of the size of lr, in
  the direction of rounding. Such models train by rules that are proportional to the gradient.

Many examples, other ones each time: `SWEEPLANE_LANE_EXAMPLES=500 pytest <this file>`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from lane_plans import Plan, plans
from lane_training import Script, assert_equal, in_lanes, serially, without
from serial_training import ListFeed

from sweeps.engines.base import State

EXAMPLES = int(os.environ.get("SWEEPLANE_LANE_EXAMPLES", "0"))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.timeout(300 + 5 * EXAMPLES)
@settings(
    max_examples=EXAMPLES or 15,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(plan=plans())
def test_a_trial_has_the_same_curve_in_any_company(plan: Plan) -> None:
    stops = {n: each.stop for n, each in enumerate(plan.members) if each.stop}
    starts = {n: each.start for n, each in enumerate(plan.members)}
    moves = {n: each.moves for n, each in enumerate(plan.members)}
    alone = Script(*plan.trials({}), stops=stops, at=starts)
    serially(plan.tasks, alone, objective=plan.objective)
    trials = plan.trials(alone.states)
    lanes = Script(*trials, gives=plan.gives, stops=stops, at=moves)
    in_lanes(plan.tasks, lanes, plan.lanes, objective=plan.objective)
    assert not lanes.waiting
    assert not lanes.trained
    assert_equal(lanes, after(alone, alone.states))
    moved = [trial for trial in plan.trials(lanes.states) if trial.start]
    ends = Script(*moved, stops=stops)
    serially(plan.tasks, ends, objective=plan.objective)
    others = [n for n in range(len(trials)) if n not in lanes.states]
    assert_equal(ends, after(without(alone, *others), lanes.states))


def after(feed: ListFeed, states: Mapping[int, State]) -> ListFeed:
    """Return what became of trials after these states."""
    rest = without(feed)
    first = {number: state.epoch for number, state in states.items()}
    rest.points = [p for p in feed.points if p.epoch > first.get(p.number, 0)]
    return rest
