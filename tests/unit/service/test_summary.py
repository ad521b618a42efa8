"""The pasted code runs, and means the configuration."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

import optimizers
from optimizers import RULES
from sweeps.config import Config
from sweeps.engines.base import Objective
from sweeps.summary import paste, python_code, torch_arguments, yaml_text

JUDGED = Objective("valid/loss", maximize=False)


def config(**changes: Any) -> Config:
    settings: dict[str, Any] = {
        "optimizer": "adamw",
        "hypers": {"lr": 0.0123456789, "beta1": 0.95, "beta2": 0.999, "weight_decay": 0.2},
        "switches": {},
        "schedule": "cosine",
        "schedule_hypers": {"warmup_fraction": 0.1, "final_factor": 0.0},
        "average": "none",
        "epochs": 30,
        "batch_size": 32,
    }
    return Config(**{**settings, **changes})


def run_all(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {
        "torch": torch,
        "optimizers": optimizers,
        "model": torch.nn.Linear(2, 1),
        "steps_per_epoch": 10,
    }
    exec(code, names)
    return names


def run(code: str) -> tuple[torch.optim.Optimizer, Any]:
    names = run_all(code)
    return names["optimizer"], names.get("scheduler")


def test_adamw_is_torchs_own_class_with_the_values() -> None:
    optimizer, scheduler = run(python_code(config(), JUDGED))
    assert type(optimizer) is torch.optim.AdamW
    group = optimizer.param_groups[0]
    assert group["initial_lr"] == 0.0123457
    assert group["betas"] == (0.95, 0.999)
    assert group["weight_decay"] == 0.2
    assert group["lr"] == pytest.approx(0.0123457 / 30)  # the first of 30 warmup steps
    for _ in range(29):
        optimizer.step()
        scheduler.step()
    assert group["lr"] == pytest.approx(0.0123457)


@pytest.mark.parametrize(
    ("name", "switches", "expected"),
    [
        ("sgd", {"nesterov": True}, torch.optim.SGD),
        ("sgdw", {}, optimizers.SGDW),
        ("adam", {}, torch.optim.Adam),
        ("adam", {"decay": "decoupled"}, optimizers.Adam),
        ("lion", {}, optimizers.Lion),
        ("asgd", {}, optimizers.ASGD),  # torch's has no averaged()
        ("muon", {}, optimizers.Muon),  # torch's takes matrices only
        ("adafactor", {}, torch.optim.Adafactor),
        ("lbfgs", {"line_search_fn": "strong_wolfe"}, torch.optim.LBFGS),
        ("torch.optim.Adagrad", {}, torch.optim.Adagrad),
    ],
)
def test_each_optimizer_is_named_where_it_lives(
    name: str, switches: dict[str, Any], expected: type
) -> None:
    hypers = {"lr": 0.1, "momentum": 0.9} if name.startswith("sgd") else {"lr": 0.1}
    chosen = config(
        optimizer=name,
        hypers=hypers,
        switches=switches,
        schedule="constant",
        schedule_hypers={},
    )
    optimizer, _ = run(python_code(chosen, JUDGED))
    assert type(optimizer) is expected
    group = optimizer.param_groups[0]
    assert all(group[key] == value for key, value in {**hypers, **switches}.items())
    assert all(group[key] == value for key, value in switches.items() if key in group)


def test_a_constant_schedule_needs_no_scheduler() -> None:
    chosen = config(schedule="constant", schedule_hypers={"warmup_fraction": 0.0})
    code = python_code(chosen, JUDGED)
    assert "scheduler" not in code


def test_yaml_reads_back_as_the_same_values() -> None:
    from ruamel.yaml import YAML

    data = YAML(typ="safe").load(yaml_text(config()))["baseline"]
    assert data["optimizer"] == "adamw"
    assert data["lr"] == 0.0123457
    assert data["warmup_fraction"] == 0.1
    assert "The same for a sweep file" in paste(config(), JUDGED)


def test_a_schedule_with_feedback_is_pasted_with_the_goal() -> None:
    hypers = {"factor": 0.5, "patience": 1.0}
    chosen = config(schedule="plateau", schedule_hypers=hypers)
    code = python_code(chosen, Objective("valid/accuracy", maximize=True))
    assert "scheduler.observe(<valid/accuracy>)" in code
    optimizer, scheduler = run(code)
    for _ in range(3):
        scheduler.observe(0.9)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0123457 / 2)


SWA = {"start": 0.5, "swa_lr": 0.25, "anneal": 0.0, "frequency": 1}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_swa_is_pasted_with_the_rate_that_it_sets(schedule: str) -> None:
    hypers = {"warmup_fraction": 0.0}
    chosen = config(
        schedule=schedule, schedule_hypers=hypers, average="swa", average_hypers=SWA, epochs=2
    )
    names = run_all(python_code(chosen, JUDGED))
    optimizer, scheduler, average = names["optimizer"], names["scheduler"], names["average"]
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        average.update()
    assert rates[0] == pytest.approx(0.0123457)
    assert rates[10:] == pytest.approx([0.0123457 * 0.25] * 10)
    assert (average.kind.name, average.hypers) == ("swa", SWA)
    assert average.averaged == 11  # after updates 10 to 20


def test_an_ema_is_pasted_beside_a_schedule_that_it_leaves_alone() -> None:
    own = {"decay": 0.987654321, "start": 0.0}
    chosen = config(
        schedule="constant",
        schedule_hypers={"warmup_fraction": 0.0},
        average="ema_warmup",
        average_hypers=own,
    )
    names = run_all(python_code(chosen, JUDGED))
    assert names["average"].hypers == {"decay": 0.987654, "start": 0.0}
    assert names["average"].total_steps == 300
    assert "scheduler" not in names
    assert "ema_warmup.decay: 0.987654" in paste(chosen, JUDGED)
    assert "scheduler" in run_all(python_code(config(average="ema", average_hypers=own), JUDGED))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.torch_twin])
def test_the_arguments_of_torch_s_classes_are_read_without_torch(name: str) -> None:
    class_name = RULES[name].class_name
    twin = getattr(torch.optim, class_name, None)
    known = set() if twin is None else set(inspect.signature(twin).parameters)
    assert torch_arguments(class_name) == known
