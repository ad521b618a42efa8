"""Every algorithm through the serial engine: the rules, L-BFGS, classes of other libraries."""

from __future__ import annotations

import math

import pytest
import schedulefree
import torch
import torch.nn.functional as F
from serial_training import config, task_of, train
from torch import nn

from optimizers import ALGORITHMS, ScheduleFreeAdamW
from sweeps import Task
from sweeps.engines.base import Ending, Trial
from sweeps.tasks.data import epoch_seed


@pytest.mark.parametrize("name", [*ALGORITHMS, "pytorch_optimizer.Adan", "torch.optim.Adam"])
def test_every_algorithm_trains(name: str) -> None:
    """Six epochs of iris with its defaults; L-BFGS on batches needs a step smaller than its 1."""
    task = task_of("iris-mlp")
    hypers = {"lr": 0.1} if name == "lbfgs" else {}
    feed = train(task, Trial(0, config(optimizer=name, hypers=hypers, epochs=6), (3,)))
    [outcome] = feed.outcomes
    assert outcome.ending is Ending.TRAINED, outcome.traceback
    losses = feed.curve("train/loss")
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def batches(task: Task, seed: int, epoch: int, size: int) -> list[torch.Tensor]:
    n = len(task.train[0])
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(n, generator=generator)
    return [order[start : start + size] for start in range(0, n - size + 1, size)]


def test_lbfgs_is_torchs_with_its_closure() -> None:
    task = task_of("iris-mlp")
    chosen = config(
        optimizer="lbfgs",
        hypers={"lr": 0.5, "max_iter": 4},
        switches={"line_search_fn": "strong_wolfe"},
        epochs=2,
        batch_size=30,
    )
    feed = train(task, Trial(0, chosen, (7,)))
    torch.manual_seed(epoch_seed(7, 0))
    model = task.model()
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe"
    )
    x, y = task.train
    expected = []
    for epoch in (1, 2):
        for index in batches(task, 7, epoch, 30):

            def closure(index: torch.Tensor = index) -> torch.Tensor:
                optimizer.zero_grad()
                loss = task.loss(model(x[index]), y[index])
                loss.backward()
                return loss

            optimizer.step(closure)
        with torch.no_grad():
            expected.append(task.loss(model(task.valid[0]), task.valid[1]).item())
    assert feed.curve("valid/loss") == pytest.approx(expected, rel=1e-5)


def normalized_task() -> Task:
    """Iris with BatchNorm, whose statistics depend on which weights are evaluated."""
    iris = task_of("iris-mlp")

    def model() -> nn.Module:
        layers = (nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        return nn.Sequential(*layers)

    return Task(model=model, train=iris.train, valid=iris.valid, loss=F.cross_entropy)


def test_schedule_free_is_judged_by_its_averages_with_their_own_statistics() -> None:
    task = normalized_task()
    chosen = config(optimizer="schedule_free_adamw", hypers={"lr": 0.05}, epochs=2, batch_size=30)
    feed = train(task, Trial(0, chosen, (7,)))
    torch.manual_seed(epoch_seed(7, 0))
    model = task.model()
    optimizer = ScheduleFreeAdamW(model.parameters(), lr=0.05)
    x, y = task.train
    averaged, raw = [], []
    for epoch in (1, 2):
        model.train()
        for index in batches(task, 7, epoch, 30):
            optimizer.zero_grad()
            task.loss(model(x[index]), y[index]).backward()
            optimizer.step()
        judged = task.model()
        judged.load_state_dict(model.state_dict())
        for p, average in zip(judged.parameters(), optimizer.averaged_parameters(), strict=True):
            p.data.copy_(average)
        again = batches(task, 7, epoch, 30)  # the epoch's own
        torch.optim.swa_utils.update_bn([x[index] for index in again], judged)
        for each, losses in ((judged, averaged), (model, raw)):
            each.eval()
            with torch.no_grad():
                losses.append(task.loss(each(task.valid[0]), task.valid[1]).item())
    assert feed.curve("valid/loss") == pytest.approx(averaged, rel=1e-4)
    assert feed.curve("valid/loss") != pytest.approx(raw, rel=1e-3)


def test_an_optimizer_with_modes_is_put_into_the_right_one() -> None:
    """The schedulefree package refuses to step in evaluation mode."""
    task = task_of("iris-mlp")
    name = "schedulefree.AdamWScheduleFree"
    chosen = config(optimizer=name, hypers={"lr": 0.05}, epochs=2, batch_size=30)
    feed = train(task, Trial(0, chosen, (7,)))
    torch.manual_seed(epoch_seed(7, 0))
    model = task.model()
    optimizer = schedulefree.AdamWScheduleFree(model.parameters(), lr=0.05)
    x, y = task.train
    expected = []
    for epoch in (1, 2):
        optimizer.train()
        for index in batches(task, 7, epoch, 30):
            optimizer.zero_grad()
            task.loss(model(x[index]), y[index]).backward()
            optimizer.step()
        optimizer.eval()
        with torch.no_grad():
            expected.append(task.loss(model(task.valid[0]), task.valid[1]).item())
    assert feed.curve("valid/loss") == pytest.approx(expected, rel=1e-5)
