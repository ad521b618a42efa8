"""Averages in the serial engine against torch.optim.swa_utils in a loop written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from serial_training import ListFeed, config, task_of, train
from torch import nn
from torch.optim import swa_utils

from optimizers import ScheduleLR
from sweeps import Task
from sweeps.config import Config
from sweeps.engines.base import Ending, Trial
from sweeps.tasks.data import epoch_seed

SWA = {"start": 0.5, "swa_lr": 0.3, "anneal": 0.25, "frequency": 1}
EMA = {"decay": 0.8, "start": 0.0}


def normalized() -> Task:
    """Iris with BatchNorm, whose statistics depend on which weights are evaluated."""
    iris = task_of("iris-mlp")

    def model() -> nn.Module:
        layers = (nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        return nn.Sequential(*layers)

    parts = {"train": iris.train, "valid": iris.valid, "test": iris.test}
    return Task(model=model, loss=F.cross_entropy, **parts)  # type: ignore[arg-type]


def chosen(average: str, hypers: dict[str, float], **more: Any) -> Config:
    settings = {
        "optimizer": "sgd",
        "hypers": {"lr": 0.1, "momentum": 0.9},
        "schedule": "cosine",
        "epochs": 8,
        "batch_size": 16,
        "average": average,
        "average_hypers": hypers,
    }
    return config(**{**settings, **more})


def batches(task: Task, seed: int, epoch: int, size: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(len(task.train[0]), generator=generator)  # type: ignore[index, arg-type]
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def loss_of(task: Task, model: nn.Module, split: str) -> float:
    model.eval()
    x, y = getattr(task, split)
    with torch.no_grad():
        return task.loss(model(x), y).item()


def by_hand(task: Task, wanted: Config, seed: int) -> dict[str, list[float]]:
    """The same training with torch alone: AveragedModel, SWALR and update_bn."""
    own, size = wanted.average_hypers, wanted.batch_size
    steps = len(task.train[0]) // size  # type: ignore[index, arg-type]
    total = steps * wanted.epochs
    start = round(own["start"] * total)
    is_swa = wanted.average == "swa"
    torch.manual_seed(epoch_seed(seed, 0))
    model = task.model()
    rate = wanted.hypers["lr"]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=wanted.hypers["momentum"])
    scheduler: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    mean = None if is_swa else swa_utils.get_ema_multi_avg_fn(own["decay"])
    average = swa_utils.AveragedModel(model, multi_avg_fn=mean)
    found: dict[str, list[float]] = {"judged": [], "raw": [], "lr": [], "test": []}
    t = 0
    for epoch in range(1, wanted.epochs + 1):
        model.train()
        for index in batches(task, seed, epoch, size):
            if is_swa and t == start:
                length = round(own["anneal"] * total)
                scheduler = swa_utils.SWALR(optimizer, rate * own["swa_lr"], length)
            found["lr"].append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            x, y = task.train  # type: ignore[misc]
            task.loss(model(x[index]), y[index]).backward()
            optimizer.step()
            scheduler.step()
            t += 1
            if t >= start:
                average.update_parameters(model)
        found["raw"].append(loss_of(task, model, "valid"))
        if t < start:
            found["judged"].append(found["raw"][-1])
            continue
        swa_utils.update_bn([x[index] for index in batches(task, seed, epoch, size)], average)
        found["judged"].append(loss_of(task, average, "valid"))
    found["test"] = [loss_of(task, average, "test"), loss_of(task, model, "test")]
    return found


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step()`:UserWarning")
@pytest.mark.parametrize(("average", "hypers"), [("swa", SWA), ("ema", EMA)])
def test_a_trial_is_judged_by_its_average_as_torchs_own_would_be(
    average: str, hypers: dict[str, float]
) -> None:
    task, wanted = normalized(), chosen(average, hypers)
    feed = train(task, Trial(0, wanted, (7,)), precision="float64")
    expected = by_hand(double(task), wanted, 7)
    assert feed.outcomes[0].ending is Ending.TRAINED, feed.outcomes[0].traceback
    assert feed.curve("valid/loss") == pytest.approx(expected["judged"], rel=1e-9)
    assert feed.curve("valid/loss_raw") == pytest.approx(expected["raw"], rel=1e-9)
    test = feed.outcomes[0].test
    assert [test["test/loss"], test["test/loss_raw"]] == pytest.approx(expected["test"], rel=1e-9)
    assert expected["judged"] != pytest.approx(expected["raw"], rel=1e-3)


def double(task: Task) -> Task:
    """The task in float64, as the engine's precision makes it."""

    def pair(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return data[0].double(), data[1]

    parts = {name: pair(getattr(task, name)) for name in ("train", "valid", "test")}
    return Task(model=lambda: task.model().double(), loss=task.loss, **parts)  # type: ignore[arg-type]


def curves(feed: ListFeed, suffix: str = "") -> list[list[float]]:
    return [feed.curve(f"valid/{name}{suffix}") for name in ("loss", "accuracy")]


def test_under_an_ema_the_raw_curves_are_those_of_the_run_without_it() -> None:
    task = normalized()
    averaged = train(task, Trial(0, chosen("ema", EMA), (7, 8)))
    plain = train(task, Trial(0, chosen("none", {}), (7, 8)))
    assert curves(averaged, "_raw") == curves(plain)
    assert averaged.curve("train/loss") == plain.curve("train/loss")
    assert curves(averaged) != curves(plain)
    raw = {n.removesuffix("_raw"): v for n, v in averaged.outcomes[0].test.items() if "_raw" in n}
    assert raw == plain.outcomes[0].test
    assert not [name for point in plain.points for name in point.values if name.endswith("_raw")]


def test_under_swa_everything_is_that_of_the_run_without_it_until_its_start() -> None:
    task = normalized()
    averaged = train(task, Trial(0, chosen("swa", SWA), (7,)))
    plain = train(task, Trial(0, chosen("none", {}), (7,)))
    before = 3  # of 8 epochs; the fourth one's last update is the first to be averaged
    for judged, raw, without in zip(
        curves(averaged), curves(averaged, "_raw"), curves(plain), strict=True
    ):
        assert judged[:before] == raw[:before] == without[:before]
        assert raw[before] == without[before]
        assert len(raw) == len(without) == 8
        assert raw[-1] != without[-1]


def test_plateau_reads_the_average(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    observe = ScheduleLR.observe

    def watched(scheduler: ScheduleLR, metric: float) -> None:
        seen.append(metric)
        observe(scheduler, metric)

    monkeypatch.setattr(ScheduleLR, "observe", watched)
    wanted = chosen("ema", {"decay": 0.95}, schedule="plateau", epochs=3)
    feed = train(normalized(), Trial(0, wanted, (1,)))
    assert seen == feed.curve("valid/loss")
    assert seen != feed.curve("valid/loss_raw")


def test_a_model_of_two_inputs_is_averaged_and_its_other_buffers_are_left_alone() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 3)
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.passes += 1
            return self.head(self.norm(x) * scale) + 0 * self.passes

    iris = task_of("iris-mlp")
    made: list[Two] = []

    def model() -> Two:
        made.append(Two())
        return made[-1]

    (x, y), (xv, yv) = iris.train, iris.valid  # type: ignore[misc]
    task = Task(
        model=model,
        train=(x, torch.ones(len(x), 1), y),
        valid=(xv, torch.ones(len(xv), 1), yv),
        loss=F.cross_entropy,
    )
    feed = train(task, Trial(0, chosen("ema", EMA, epochs=2), (0,)), precision="bf16")
    assert feed.outcomes[0].ending is Ending.TRAINED, feed.outcomes[0].traceback
    assert float(made[-1].passes) == 2 * (len(x) // 16)


def test_an_optimizer_with_averages_of_its_own_keeps_them_as_raw() -> None:
    task = normalized()
    own = {"optimizer": "schedule_free_adamw", "hypers": {"lr": 0.05}, "schedule": "constant"}
    both = train(task, Trial(0, config(**own, average="ema", average_hypers=EMA), (7,)))
    alone = train(task, Trial(0, config(**own), (7,)))
    assert curves(both, "_raw") == curves(alone)
    assert curves(both) != curves(alone)


def test_what_is_measured_in_training_has_no_raw_twin() -> None:
    feed = train(task_of("exp-curve"), Trial(0, config(average="ema_warmup", epochs=1), (0,)))
    raw = {name for name in feed.points[0].values if name.endswith("_raw")}
    assert raw == {"valid/loss_raw", "valid/mae_raw"}
    assert {name for name in feed.outcomes[0].test if name.endswith("_raw")} == {
        "test/loss_raw",
        "test/mae_raw",
    }
