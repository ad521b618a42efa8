"""The serial engine against plain training loops on real data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from built_in import make_task
from serial_training import ListFeed, config, task_of, train
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sweeps import Task
from sweeps.config import Config
from sweeps.engines.base import Ending, Objective, Trial
from sweeps.engines.serial import SerialEngine
from sweeps.tasks import TASKS, load_factory
from sweeps.tasks.data import epoch_seed


def by_hand(task: Task, chosen: Config, seed: int) -> list[float]:
    """The same training with torch alone: validation losses."""
    torch.manual_seed(epoch_seed(seed, 0))
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen.hypers["lr"])
    x, y = task.train
    n, size = len(x), chosen.batch_size
    total = chosen.epochs * (n // size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    losses = []
    for epoch in range(1, chosen.epochs + 1):
        torch.manual_seed(epoch_seed(seed, epoch))
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(n, generator=generator)
        model.train()
        for start in range(0, n - size + 1, size):
            index = order[start : start + size]
            optimizer.zero_grad()
            task.loss(model(x[index]), y[index]).backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            losses.append(task.loss(model(task.valid[0]), task.valid[1]).item())
    return losses


@pytest.mark.parametrize("name", ["iris-mlp", "digits-cnn"])
def test_the_curve_is_that_of_a_plain_torch_loop(name: str) -> None:
    task = task_of(name)
    chosen = config(schedule="cosine", batch_size=32)
    feed = train(task, Trial(0, chosen, (7,)))
    assert feed.curve("valid/loss") == pytest.approx(by_hand(task, chosen, 7), rel=1e-4)


def test_a_curve_depends_on_seed_and_configuration_alone() -> None:
    task = task_of("iris-mlp")
    alone = train(task, Trial(5, config(), (3,))).curve("valid/loss", 5)
    company = train(
        task,
        Trial(0, config(hypers={"lr": 1e6}), (1,)),
        Trial(1, config(optimizer="sgd", hypers={"lr": 0.1}), (2,)),
        Trial(5, config(), (3,)),
    )
    assert company.curve("valid/loss", 5) == alone
    assert train(task, Trial(5, config(), (4,))).curve("valid/loss", 5) != alone


def test_an_epoch_is_n_over_b_full_batches_in_a_new_order() -> None:
    seen: list[list[float]] = []

    class Recorder(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x[:, 0].tolist())
            return super().forward(x)

    x = torch.arange(10.0).unsqueeze(1)
    task = Task(model=lambda: Recorder(1, 1), train=(x, x), valid=(x, x), loss=F.mse_loss)
    train(task, Trial(0, config(epochs=2, batch_size=3, hypers={"lr": 1e-4}), (0,)))
    assert [len(batch) for batch in seen] == [3] * 6
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert len(set(first)) == len(set(second)) == 9
    assert first != second


def test_repeats_average_the_curves_of_their_seeds() -> None:
    task = task_of("iris-mlp")
    singles = [train(task, Trial(0, config(), (seed,))) for seed in (1, 2, 3)]
    together = train(task, Trial(0, config(), (1, 2, 3)))
    for name in ("valid/loss", "train/accuracy"):
        curves = [single.curve(name) for single in singles]
        means = [sum(values) / 3 for values in zip(*curves, strict=True)]
        assert together.curve(name) == pytest.approx(means, rel=1e-12)
    tests = [single.outcomes[0].test["test/loss"] for single in singles]
    assert together.outcomes[0].test["test/loss"] == pytest.approx(sum(tests) / 3, rel=1e-12)


def test_a_divergence_is_an_outcome_with_the_step_of_the_first_bad_loss() -> None:
    x = torch.ones(8, 1)
    task = Task(
        model=lambda: nn.Linear(1, 1, bias=False),
        train=(x, 2 * x),
        valid=(x, 2 * x),
        loss=F.mse_loss,
    )
    # w <- w - lr * 2 (w - 2): the error grows by 2 lr - 1 = 1e13 a step. Its square, the loss, is
    # about 1, 1e26 and 1e52 at steps 1, 2 and 3, and float32 ends at 3.4e38.
    chosen = config(optimizer="sgd", hypers={"lr": 5e12}, epochs=2, batch_size=1)
    outcome = train(task, Trial(0, chosen, (0,))).outcomes[0]
    assert outcome.ending is Ending.DIVERGED
    assert outcome.epochs == 1
    assert outcome.step == 3
    assert outcome.test == {}


def test_each_trial_trains_the_task_of_its_own_arguments() -> None:
    built: list[int] = []

    def tasks(arguments: Mapping[str, Any]) -> Task:
        task = load_factory("iris-mlp", Path())(**arguments)
        sizes = [sum(p.numel() for p in task.model().parameters())]
        built.extend(sizes)
        return task

    feed = ListFeed(
        *(Trial(n, config(task_args={"hidden": h}), (1,)) for n, h in enumerate((2, 9)))
    )
    SerialEngine("cpu", "float32", Objective("valid/loss", maximize=False)).run(tasks, feed)
    assert built == [4 * 2 + 2 + 2 * 3 + 3, 4 * 9 + 9 + 9 * 3 + 3]
    for number, hidden in enumerate((2, 9)):
        alone = load_factory("iris-mlp", Path())(hidden=hidden)
        expected = train(alone, Trial(0, config(), (1,))).curve("valid/loss")
        assert feed.curve("valid/loss", number) == expected


def test_a_factory_that_refuses_its_arguments_fails_that_trial() -> None:
    def tasks(arguments: Mapping[str, Any]) -> Task:
        return load_factory("iris-mlp", Path())(**arguments)

    feed = ListFeed(Trial(0, config(task_args={"wings": 2}), (1,)), Trial(1, config(), (1,)))
    SerialEngine("cpu", "float32", Objective("valid/loss", maximize=False)).run(tasks, feed)
    assert [outcome.ending for outcome in feed.outcomes] == [Ending.FAILED, Ending.TRAINED]
    assert "unexpected keyword argument 'wings'" in (feed.outcomes[0].error or "")


def test_a_stopped_trial_ends_at_its_epoch() -> None:
    feed = train(task_of("iris-mlp"), Trial(0, config(epochs=9), (0,)), stop_at=2)
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert [point.epoch for point in feed.points] == [1, 2]


def test_a_stop_at_the_last_epoch_comes_too_late() -> None:
    feed = train(task_of("iris-mlp"), Trial(0, config(epochs=2), (0,)), stop_at=2)
    assert feed.outcomes[0].ending is Ending.TRAINED
    assert set(feed.outcomes[0].test) == {"test/loss", "test/accuracy"}


def test_a_failure_keeps_its_cause_and_the_next_trial_trains() -> None:
    task = task_of("iris-mlp")
    feed = train(task, Trial(0, config(batch_size=1000), (0,)), Trial(1, config(epochs=1), (0,)))
    assert feed.outcomes[0].ending is Ending.FAILED
    assert "batch_size 1000 is larger than the 90 training examples" in (
        feed.outcomes[0].error or ""
    )
    assert "_full_batches" in (feed.outcomes[0].traceback or "")
    assert feed.outcomes[1].ending is Ending.TRAINED


@pytest.mark.parametrize("kind", ["dataset", "loader"])
def test_datasets_and_loaders_are_reproducible(kind: str) -> None:
    x, y = task_of("iris-mlp").train

    def made() -> Task:
        data = TensorDataset(x, y)
        source = data if kind == "dataset" else DataLoader(data, 16, shuffle=True, drop_last=True)
        return Task(
            model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3)),
            train=source,
            valid=(x, y),
            loss=F.cross_entropy,
        )

    torch.manual_seed(0)
    first = train(made(), Trial(0, config(), (1,))).curve("train/loss")
    torch.manual_seed(99)
    second = train(made(), Trial(0, config(), (1,))).curve("train/loss")
    assert first == second
    assert len(set(first)) == 3


def test_float64_and_bf16_are_what_they_say() -> None:
    seen = set()

    class Spy(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output = super().forward(x)
            seen.add((self.weight.dtype, output.dtype))
            return output

    x, y = task_of("iris-mlp").train
    task = Task(model=lambda: Spy(4, 3), train=(x, y), valid=(x, y), loss=F.cross_entropy)
    train(task, Trial(0, config(epochs=1), (0,)), precision="float64")
    assert seen == {(torch.float64, torch.float64)}
    seen.clear()
    train(task, Trial(0, config(epochs=1), (0,)), precision="bf16")
    assert seen == {(torch.float32, torch.bfloat16)}


@pytest.mark.parametrize("name", TASKS)
def test_every_built_in_task_learns_with_the_published_defaults(name: str, tmp_path: Path) -> None:
    task = make_task(name, tmp_path)
    torch.manual_seed(0)
    model = task.model().eval()
    x, y = task.valid
    with torch.no_grad():
        untrained = float(task.loss(model(x), y))
    epochs, batch_size = max(2, task.epochs // 5), min(task.batch_size, len(task.train[0]) // 4)
    chosen = config(hypers={"lr": 0.003}, epochs=epochs, batch_size=batch_size)
    feed = train(task, Trial(0, chosen, (0,)))
    assert feed.curve("valid/loss")[-1] < 0.6 * untrained
    assert all(map(math.isfinite, feed.outcomes[0].test.values()))
    assert set(feed.outcomes[0].test) == {f"test/{n}" for n in ("loss", *task.metrics)}
