"""The loops of `examples/` on the real libraries; each is skipped where its library is not there.

pip install -c constraints.txt '.[examples]'
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from serial_training import ListFeed

from sweeps.engines.base import Ending, Objective, Trial
from sweeps.engines.function import FunctionEngine
from sweeps.engines.handle import TrialHandle
from sweeps.spec import Spec, load_spec
from sweeps.tasks import load_factory

EXAMPLES = Path(__file__).parents[3] / "examples"
LIBRARIES = {
    "own_loop": "torch",
    "lightning": "lightning",
    "transformers": "transformers",
    "accelerate": "accelerate",
}
pytestmark = pytest.mark.filterwarnings("default")  # the libraries' own


@pytest.fixture(params=LIBRARIES)
def name(request: pytest.FixtureRequest) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(LIBRARIES[request.param])
    return str(request.param)


@pytest.fixture
def spec(name: str) -> Spec:
    return load_spec(EXAMPLES / f"{name}.yaml", {"device": "cpu"})


class Watched:
    """An example's function, and the schedules that it has asked its trial for."""

    def __init__(self, spec: Spec) -> None:
        self._function = load_factory(spec.task, spec.path.parent)
        self.schedules: list[Any] = []

    def __call__(self, trial: TrialHandle, **arguments: Any) -> object:
        made: Callable[..., Any] = trial.schedule

        def schedule(*args: Any, **more: Any) -> Any:
            self.schedules.append(made(*args, **more))
            return self.schedules[-1]

        trial.schedule = schedule  # type: ignore[method-assign]
        return self._function(trial, **arguments)


def run(
    spec: Spec,
    folder: Path,
    function: Callable[..., object] | None = None,
    *,
    seed: int = 5,
    stop_at: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> ListFeed:
    """Train one configuration of an example, three epochs, with a warmup to see."""
    entry = {"optimizer": "adamw", "lr": 0.004, "schedule": "cosine", "warmup_fraction": 0.2}
    known = spec.model_copy(update={"baseline": {**entry, **(changes or {})}})
    config = known.baseline_config(epochs=3, batch_size=64)
    feed = ListFeed(Trial(0, config, (seed,)), stop_at=stop_at)
    objective = Objective(spec.metric.name, maximize=spec.metric.goal == "maximize")
    made = function or load_factory(spec.task, spec.path.parent)
    FunctionEngine(made, "cpu", objective, folder).run(lambda _: pytest.fail("no task"), feed)
    return feed


def test_it_trains_and_reports_each_epoch(spec: Spec, tmp_path: Path) -> None:
    watched = Watched(spec)
    feed = run(spec, tmp_path, watched)
    outcome = feed.outcomes[0]
    assert outcome.ending is Ending.TRAINED, outcome.traceback
    assert [point.epoch for point in feed.points] == [1, 2, 3]
    curve = feed.curve(spec.metric.name)
    assert curve[-1] > curve[0] if spec.metric.goal == "maximize" else curve[-1] < curve[0]
    [schedule] = watched.schedules
    assert schedule.last_epoch == schedule.total_steps  # one step each, to the end
    assert schedule.get_last_lr() == [pytest.approx(0.0, abs=1e-9)]
    steps = [point.values["step"] for point in feed.points if "step" in point.values]
    assert steps in ([], [schedule.total_steps / 3 * epoch for epoch in (1, 2, 3)])


def test_its_curve_is_that_of_its_seed(spec: Spec, tmp_path: Path) -> None:
    curves = [
        run(spec, tmp_path / str(place), seed=seed).curve(spec.metric.name)
        for place, seed in enumerate((5, 6, 5))
    ]
    assert curves[0] == curves[2] != curves[1]


def test_a_pruned_trial_ends_its_trainer(spec: Spec, tmp_path: Path) -> None:
    watched = Watched(spec)
    feed = run(spec, tmp_path, watched, stop_at=1)
    assert feed.outcomes[0].ending is Ending.STOPPED, feed.outcomes[0].traceback
    [schedule] = watched.schedules
    assert schedule.last_epoch == schedule.total_steps / 3


def test_a_learning_rate_that_is_too_large_has_diverged(spec: Spec, tmp_path: Path) -> None:
    feed = run(spec, tmp_path, changes={"optimizer": "sgd", "lr": 1e30, "warmup_fraction": 0})
    assert feed.outcomes[0].ending is Ending.DIVERGED, feed.outcomes[0].error


def test_a_trial_that_was_cut_short_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    spec = load_spec(EXAMPLES / "own_loop.yaml", {"device": "cpu"})
    whole = run(spec, tmp_path / "whole").curve("valid/loss")
    run(spec, tmp_path / "parts", stop_at=2)
    watched = Watched(spec)
    again = run(spec, tmp_path / "parts", watched)
    assert again.curve("valid/loss") == whole
    assert again.outcomes[0].ending is Ending.TRAINED
