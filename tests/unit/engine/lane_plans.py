"""What hypothesis draws: a `Plan` of trials, what happens to them, and how many lanes there are.

Strategies list the plainest first, so that what fails shrinks to a few trials of a small model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from lane_models import ACTIVATIONS, LAYERS, Net
from lane_training import LOSS
from serial_training import config

from optimizers import AVERAGES, RULES, SCHEDULES, Hyper
from optimizers.spaces import with_decay
from sweeps import Task
from sweeps.config import Config
from sweeps.engines.base import Objective, State, Trial
from tests.contracts.optimizers.rule_runs import at

ACCURACY = Objective("valid/accuracy", maximize=True)
COMPARED = tuple(name for name in RULES if name != "soap")
"""Of a covariance without full rank rounding chooses SOAP's eigenvectors, and they its steps."""
PROPORTIONAL = ("sgd", "sgdw", "asgd", "schedule_free_sgd", "lookahead_sgd")
"""Rules whose step is the gradient times numbers that all weights share."""


@dataclass(frozen=True)
class Member:
    """A trial: `stop` is the epoch after which it is pruned; `start` and `moves` are epochs too.

    It comes with the serial engine's state of the epoch `start`; its state of the epoch `moves` is
    gone on with in the serial engine. 0: it does not.
    """

    config: Config
    seeds: tuple[int, ...]
    stop: int | None = None
    start: int = 0
    moves: int = 0


@dataclass(frozen=True)
class Plan:
    """Trials on one kind of model; `gives`: how many the feed gives at most, time after time."""

    net: Net
    members: tuple[Member, ...]
    lanes: int = 3
    gives: tuple[int, ...] = (7,)
    objective: Objective = LOSS

    def trials(self, states: Mapping[int, State]) -> list[Trial]:
        """Return the trials, gone on with where there is a state."""
        each = enumerate(self.members)
        return [Trial(n, m.config, m.seeds, states.get(n)) for n, m in each]

    def tasks(self, task_args: Mapping[str, Any]) -> Task:
        return self.net.task(**task_args)


@st.composite
def nets(draw: st.DrawFn) -> Net:
    kind = draw(st.sampled_from(sorted(LAYERS, reverse=True)))
    return Net(
        kind,
        tuple(draw(st.lists(st.sampled_from(LAYERS[kind]), max_size=3))),
        draw(st.sampled_from(list(ACTIVATIONS))),
        numbers=draw(st.booleans()),
        data=draw(st.sampled_from(["tensors", "tensors", "dataset", "noisy", "loader"])),
        shifts=draw(seldom()),
        frozen=draw(seldom()),
        branching=draw(seldom()),
    )


def seldom() -> st.SearchStrategy[bool]:
    return st.sampled_from([False] * 5 + [True])


def knobs(hypers: Mapping[str, Hyper], *always: str) -> st.SearchStrategy[dict[str, float]]:
    """Some of the knobs, over their ranges; those in `always` in any case.

    Learning rates come from the lower half of their range, where small models are stable: chaos
    makes rounding large. Whole numbers are small, since trials are short.
    """

    def values(name: str, hyper: Hyper) -> st.SearchStrategy[float]:
        if hyper.integer:
            low = int(hyper.at_least)
            return st.integers(low, low + 5).map(float)
        high = 4 if name.endswith("lr") else 8
        wide = replace(hyper, searched=True)
        return st.integers(0, high).map(lambda eighths: at(wide, eighths / 8))

    drawn = {name: values(name, hyper) for name, hyper in hypers.items()}
    return st.fixed_dictionaries(
        {name: drawn.pop(name) for name in always},
        optional=drawn,
    )


@st.composite
def algorithms(draw: st.DrawFn, names: tuple[str, ...]) -> dict[str, Any]:
    """An algorithm with switches and knobs; without them where they contradict each other."""
    name = draw(st.sampled_from(names))
    options = {n: st.sampled_from(values) for n, values in RULES[name].options.items()}
    if names is PROPORTIONAL:
        options.pop("cautious", None)  # it counts signs
    switches = draw(st.fixed_dictionaries({}, optional=options))
    rule = RULES[name].switched(switches)
    hypers = draw(knobs(with_decay(RULES[name], rule.decay), "lr"))
    try:
        rule.check(hypers)
    except ValueError:
        switches, hypers = {}, {"lr": hypers["lr"]}
    return {"optimizer": name, "switches": switches, "hypers": hypers}


@st.composite
def wild(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration whose weights grow at each update, until the model's fuse blows.

    Gradients have no part in it: there they would be differences of large numbers.
    """
    decay = draw(st.sampled_from([1e38, 3e31, 5e30]))
    return {"optimizer": "sgdw", "hypers": {"lr": 1e-30, "weight_decay": decay}}


@st.composite
def members(draw: st.DrawFn, net: Net, repeats: int) -> Member:
    names = PROPORTIONAL if net.delicate else COMPARED
    algorithm = draw(wild() if draw(seldom()) else algorithms(names))
    schedule = draw(st.sampled_from(list(SCHEDULES)))
    average = draw(st.sampled_from(["none", "none", *AVERAGES]))
    average_hypers = {} if average == "none" else draw(knobs(AVERAGES[average].hypers))
    epochs = draw(st.integers(1, 4))
    chosen = config(
        **algorithm,
        schedule=schedule,
        schedule_hypers=draw(knobs(SCHEDULES[schedule].hypers)),
        average=average,
        average_hypers=average_hypers,
        epochs=epochs,
        batch_size=6 if net.data == "loader" else draw(st.sampled_from([6, 6, 9])),
        task_args=draw(st.sampled_from([{}, {}, {"width": 6}])),
    )
    seed = draw(st.integers(0, 99))
    stop = draw(st.one_of(st.none(), st.integers(1, epochs)))
    start, moves = (draw(st.integers(0, (stop or epochs) - 1)) for _ in range(2))
    return Member(chosen, tuple(range(seed, seed + repeats)), stop, start, moves)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    net = draw(nets())
    own = members(net, 2 if draw(seldom()) else 1)
    return Plan(
        net,
        tuple(draw(st.lists(own, min_size=1, max_size=3) | st.lists(own, min_size=4, max_size=7))),
        lanes=draw(st.sampled_from([3, 4, 5, 2, 1])),
        gives=tuple(draw(st.lists(st.integers(0, 3), max_size=3))) or (7,),
        objective=LOSS if net.numbers else draw(st.sampled_from([LOSS, ACCURACY])),
    )
