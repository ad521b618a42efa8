"""The drop-ins' constructor arguments: torch's own, what is refused, and building one by name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from programs import weights

import optimizers
from optimizers import (
    SGD,
    SGDW,
    Adafactor,
    Adam,
    AdamW,
    NAdam,
    NAdamW,
    RAdam,
    Rprop,
    build_optimizer,
)
from optimizers.drop_in import DROP_INS

SHARED = [cls.__name__ for cls in DROP_INS.values() if hasattr(torch.optim, cls.__name__)]
NOT_HERE = ("foreach", "fused", "capturable", "differentiable")


@pytest.mark.parametrize("name", SHARED)
def test_takes_torchs_arguments_by_their_names_with_their_defaults(name: str) -> None:
    theirs, ours = (
        {n: p.default for n, p in inspect.signature(getattr(lib, name)).parameters.items()}
        for lib in (torch.optim, optimizers)
    )
    if name == "Muon":
        theirs["adjust_lr_fn"] = "original"  # which is what its None stands for
    assert {n: ours[n] for n in theirs} == theirs


@pytest.mark.parametrize("name", SHARED)
def test_takes_torchs_arguments_in_their_order(name: str) -> None:
    """Up to the first of those that say how torch is to compute, which here are by keyword."""
    signatures = (inspect.signature(getattr(lib, name)) for lib in (torch.optim, optimizers))
    theirs, ours = (
        [n for n, p in s.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        for s in signatures
    )
    wanted = theirs[: min([theirs.index(n) for n in NOT_HERE if n in theirs], default=None)]
    assert ours[: len(wanted)] == wanted


@pytest.mark.parametrize(
    ("cls", "arguments", "decay"),
    [
        (Adam, {}, "l2"),
        (Adam, {"decoupled_weight_decay": True}, "decoupled"),
        (Adam, {"decoupled_weight_decay": True, "decay": "decoupled"}, "decoupled"),
        (Adam, {"decay": "independent"}, "independent"),
        (AdamW, {}, "decoupled"),
        (AdamW, {"decoupled_weight_decay": False}, "l2"),
        (NAdam, {"decoupled_weight_decay": True}, "decoupled"),
        (NAdamW, {"decoupled_weight_decay": False}, "l2"),
        (RAdam, {"decoupled_weight_decay": False}, "l2"),
    ],
)
def test_decoupled_decay_has_torchs_name_too(
    cls: Any, arguments: dict[str, Any], decay: str
) -> None:
    optimizer = cls(weights(torch.zeros(1)), **arguments)
    assert optimizer.param_groups[0]["decay"] == decay
    assert "decoupled_weight_decay" not in optimizer.param_groups[0]
    saved = optimizer.state_dict()["param_groups"][0]
    assert saved["decoupled_weight_decay"] == (decay == "decoupled")


def test_two_names_for_the_decay_must_agree() -> None:
    message = "decoupled_weight_decay = True is invalid with decay = 'l2'; give one of the two"
    with pytest.raises(ValueError, match=message):
        Adam(weights(torch.zeros(1)), decoupled_weight_decay=True, decay="l2")


@pytest.mark.parametrize("option", ["capturable", "differentiable"])
def test_torchs_options_that_are_not_here_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} = True is invalid; NAdam has it False only"):
        NAdam(weights(torch.ones(1)), **{option: True})


def test_an_unknown_argument_is_answered_with_those_there_are() -> None:
    message = (
        r"RAdam: got an unexpected keyword argument 'momentum'. Arguments: params, lr, betas, "
    )
    with pytest.raises(TypeError, match=message):
        RAdam(weights(torch.ones(1)), momentum=0.9)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (AdamW, {"lr": -0.1}, r"lr = -0\.1 is invalid; it must lie in \[0, inf\)"),
        (AdamW, {"lr": float("nan")}, r"lr = nan is invalid"),
        (AdamW, {"lr": torch.tensor([0.1, 0.2])}, r"lr = tensor.* a tensor must have one element"),
        (Adam, {"betas": (1.0, 0.9)}, r"betas\[0\] = 1\.0 is invalid; it must lie in \[0, 1\)"),
        (Adam, {"betas": (0.9, -0.1)}, r"betas\[1\] = -0\.1 is invalid; it must lie in \[0, 1\)"),
        (Adam, {"eps": -1e-8}, r"eps = -1e-08 is invalid; it must lie in \[0, inf\)"),
        (Adam, {"decay": "l3"}, "decay = 'l3' is invalid; it must be one of l2, decoupled"),
        (SGD, {"momentum": -0.5}, r"momentum = -0\.5 is invalid; it must lie in \[0, inf\)"),
        (SGDW, {"weight_decay": -1.0}, r"weight_decay = -1\.0 is invalid"),
        (
            SGD,
            {"nesterov": True},
            r"needs momentum in \(0, inf\) and dampening = 0, got momentum = 0",
        ),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, r"dampening = 0\.1"),
        (SGD, {"nesterov": "yes"}, r"nesterov = 'yes' is invalid; it must be one of False, True"),
        (Rprop, {"etas": (1.0, 1.2)}, r"etas\[0\] = 1\.0 is invalid; it must lie in \[0, 1\)"),
        (Rprop, {"etas": (0.5, 0.9)}, r"etas\[1\] = 0\.9 is invalid; it must lie in \[1, inf\)"),
        (RAdam, {"threshold": 3.0}, r"threshold = 3\.0 is invalid; it must lie in \[4, inf\)"),
        (RAdam, {"unrectified": "sgd"}, "'sgd' is invalid; it must be one of momentum, skip"),
        (Adafactor, {"beta2_decay": 0.1}, r"beta2_decay = 0\.1 .* it must lie in \(-inf, 0\]"),
        (Adafactor, {"eps": (-1.0, 1e-3)}, r"eps\[0\] = -1\.0 is invalid"),
        (Adafactor, {"d": 0.5}, r"d = 0\.5 is invalid; it must lie in \[1, inf\)"),
    ],
)
def test_invalid_arguments(cls: type[Any], arguments: dict[str, Any], message: str) -> None:
    (parameter,) = weights(torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        cls([parameter], **arguments)
    with pytest.raises(ValueError, match=message):
        cls(weights(torch.zeros(1))).add_param_group({"params": parameter, **arguments})


def test_build_optimizer_by_name() -> None:
    parameters = weights(torch.zeros(2))
    adamw = build_optimizer("adamw", parameters, {"beta2": 0.95, "lr": 0.01})
    group = adamw.param_groups[0]
    assert type(adamw) is AdamW
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.9, 0.95), 1e-2)
    sgd = build_optimizer("sgd", parameters, {"momentum": 0.9}, {"nesterov": True})
    assert (sgd.param_groups[0]["nesterov"], sgd.param_groups[0]["lr"]) == (True, 1e-3)
    adafactor = build_optimizer("adafactor", parameters, {"eps2": 0.5})
    assert adafactor.param_groups[0]["eps"] == (None, 0.5)


@pytest.mark.parametrize(
    ("name", "decay", "weight_decay"),
    [("adam", "decoupled", 0.0), ("adamw", "l2", 0.01), ("sgd", "independent", 0.0)],
)
def test_the_switch_decay_keeps_the_class_and_its_defaults(
    name: str, decay: str, weight_decay: float
) -> None:
    optimizer = build_optimizer(name, weights(torch.zeros(1)), {}, {"decay": decay})
    assert type(optimizer) is DROP_INS[name]
    assert optimizer.param_groups[0]["decay"] == decay
    assert optimizer.param_groups[0]["weight_decay"] == weight_decay


@pytest.mark.parametrize(
    ("name", "hypers", "switches", "message"),
    [
        ("adamx", {}, {}, "optimizer 'adamx' is unknown; did you mean 'adamw'"),
        (
            "adamw",
            {"momentum": 0.9},
            {},
            "adamw has no hyperparameter 'momentum'. Known: lr, beta1",
        ),
        ("adamw", {"beta1": 1.5}, {}, r"beta1 = 1\.5 is invalid; it must lie in \[0, 1\)"),
        ("adamw", {}, {"nesterov": True}, "adamw has no switch 'nesterov'. Known: amsgrad, decay"),
        ("sgd", {}, {"nesterov": 3}, "nesterov = 3 is invalid; it must be one of False, True"),
        ("adam", {}, {"decay": "l3"}, "decay = 'l3' is invalid; it must be one of l2"),
    ],
)
def test_build_optimizer_refuses(
    name: str, hypers: dict[str, float], switches: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_optimizer(name, weights(torch.zeros(2)), hypers, switches)
