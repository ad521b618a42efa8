"""The schedulers that watch a metric, against torch's and scikit-learn's own runs."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from lr_scheduler_runs import optimizer, ours, theirs
from sklearn.neural_network import MLPClassifier
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

from optimizers import ScheduleLR, build_scheduler


def metrics(seed: int, count: int) -> list[float]:
    """Losses of both signs that fall in fits and starts, some of them not finite."""
    generator = random.Random(seed)
    level, found = 2.0, []
    for _ in range(count):
        level -= 0.02 * (generator.random() < 0.3)
        noise = generator.choice([0.0, 1e-5, 0.01, 0.1]) * generator.random()
        found.append(generator.choice([level] * 30 + [float("nan"), float("inf")]) + noise)
    return found


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"patience": 0, "factor": 0.9, "eps": 1e-3},
        {"patience": 2, "cooldown": 3, "factor": 0.7, "min_lr": [0.01, 0.001], "threshold": 0.02},
        {"patience": 1, "factor": 0.5, "min_lr": 0.003},
    ],
)
def test_plateau_equals_torch(mode: str, threshold_mode: str, arguments: dict[str, Any]) -> None:
    arguments = {**arguments, "mode": mode, "threshold_mode": threshold_mode}
    mine = ours.ReduceLROnPlateau(optimizer(), **arguments)
    other = theirs.ReduceLROnPlateau(optimizer(), **arguments)
    for step, metric in enumerate(metrics(3, 1000)):
        if step == 500:
            state = pickle.loads(pickle.dumps(mine.state_dict()))
            kept = mine.optimizer
            mine = ours.ReduceLROnPlateau(kept, patience=99)
            mine.load_state_dict(state)
        mine.step(metric)
        other.step(torch.tensor(metric, dtype=torch.float64))
        rates = [group["lr"] for group in mine.optimizer.param_groups]
        assert (
            rates == [group["lr"] for group in other.optimizer.param_groups] == mine.get_last_lr()
        )
        assert (mine.best, mine.num_bad_epochs) == (other.best, other.num_bad_epochs)
    assert rates[0] < 0.1
    assert mine.last_epoch == 1000


def test_plateau_cuts_the_present_lr_and_follows_added_groups() -> None:
    def run(library: Any) -> list[float]:
        base = optimizer()
        scheduler = library.ReduceLROnPlateau(base, patience=0, min_lr=0.001)
        scheduler.step(1.0)
        base.param_groups[0]["lr"] = 0.5
        base.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.3})
        scheduler.step(1.0)
        return [group["lr"] for group in base.param_groups]

    assert run(ours) == run(theirs) == pytest.approx([0.05, 0.002, 0.03])


def test_schedule_plateau_moves_the_lr_at_the_evaluation() -> None:
    base = optimizer()
    scheduler = build_scheduler("plateau", base, 100, {"patience": 1, "factor": 0.5})
    for metric in (1.0, 1.0, 1.0):
        base.step()
        scheduler.step()
        scheduler.observe(metric)
    assert [group["lr"] for group in base.param_groups] == [0.05, 0.01]
    assert scheduler.get_last_lr() == [0.05, 0.01]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_schedule_lr_follows_a_metric_of_either_goal_as_torch_does(
    maximize: bool, sign: float
) -> None:
    """A metric that rises, stalls and falls; negative ones too, where torch's relative threshold
    takes an equal value for a better one.
    """
    metrics = [sign * value for value in (0.5, 0.7, 0.7, 0.69, 0.7, 0.7, 0.9, 0.9, 0.9, 0.9, 0.2)]
    own = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    other = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = ScheduleLR(own, "plateau", 100, maximize=maximize, factor=0.5, patience=2)
    reference = theirs.ReduceLROnPlateau(
        other, mode="max" if maximize else "min", factor=0.5, patience=2
    )
    for metric in metrics:
        schedule.observe(metric)
        reference.step(metric)
        assert own.param_groups[0]["lr"] == other.param_groups[0]["lr"]
    assert own.param_groups[0]["lr"] < 1.0 or sign < 0


def blobs() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    return generator.normal(size=(60, 4)) + labels[:, None] * 0.7, labels


def sklearn_rates(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> tuple[Any, list[float]]:
    """A fitted model, and the learning rate that each epoch was trained with."""
    found: list[float] = []
    ends = SGDOptimizer.iteration_ends

    def noted(self: SGDOptimizer, time_step: int) -> None:
        found.append(self.learning_rate)
        ends(self, time_step)

    monkeypatch.setattr(SGDOptimizer, "iteration_ends", noted)
    model = MLPClassifier((5,), solver="sgd", random_state=0, batch_size=20, **arguments)
    return model.fit(*blobs()), found


@pytest.mark.parametrize("early_stopping", [False, True])
def test_adaptive_is_scikit_learns(monkeypatch: pytest.MonkeyPatch, early_stopping: bool) -> None:
    model, expected = sklearn_rates(
        monkeypatch,
        learning_rate="adaptive",
        learning_rate_init=0.5,
        max_iter=400,
        tol=1e-3,
        n_iter_no_change=3,
        early_stopping=early_stopping,
    )
    scores = model.validation_scores_ if early_stopping else model.loss_curve_
    knobs = {"patience": 3, "tol": 1e-3, "min_factor": 1e-6 / 0.5}
    base = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = ScheduleLR(base, "adaptive", 400, maximize=early_stopping, **knobs)
    found = []
    for score in scores:
        found.append(base.param_groups[0]["lr"])
        scheduler.observe(score)
    assert len(set(expected)) > 5
    assert found == pytest.approx(expected, rel=1e-12)


def test_adaptive_keeps_a_small_gain_as_the_best_and_takes_nan_for_bad() -> None:
    base = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = ScheduleLR(base, "adaptive", 100, patience=2, tol=0.1)
    for metric in (1.0, 0.95, 0.91, 0.8):
        scheduler.observe(metric)
    assert base.param_groups[0]["lr"] == 1.0, "0.8 is 0.11 better than 0.91, the best before"
    for _ in range(3):
        scheduler.observe(float("nan"))
    assert base.param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_invscaling_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """There t is 1 plus the samples seen, set at the end of an epoch of 60; here each is a step."""
    _, expected = sklearn_rates(
        monkeypatch,
        learning_rate="invscaling",
        learning_rate_init=0.1,
        power_t=0.3,
        max_iter=20,
        n_iter_no_change=20,
        early_stopping=False,
        tol=0.0,
    )
    base = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = ours.InvScalingLR(base, power_t=0.3)
    found = []
    for sample in range(20 * 60):
        if sample % 60 == 0:
            found.append(base.param_groups[0]["lr"])
        base.step()
        scheduler.step()
    assert found == pytest.approx(expected, rel=1e-12)
