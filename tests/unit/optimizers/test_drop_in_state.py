"""The drop-ins' state: saved, pickled, copied, and exchanged with torch's own classes."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from parity import assert_parity, parameters
from parity import train as train_on_noise
from programs import each_class, net, train

import optimizers
from optimizers.drop_in import RuleOptimizer

NOT_KEPT = {"params", "foreach", "fused", "capturable", "differentiable"}


@each_class
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_go_on_alike_and_apart(cls: type[RuleOptimizer], how: str) -> None:
    model = net()
    optimizer = cls(model.parameters(), lr=0.01, weight_decay=0.1)
    train(model, optimizer, 5)
    pair = (model, optimizer)
    twins = copy.deepcopy(pair) if how == "deepcopy" else pickle.loads(pickle.dumps(pair))
    assert train(*twins, 10) == train(model, optimizer, 10)


@each_class
def test_state_has_torchs_keys_and_loads_with_weights_only(cls: type[RuleOptimizer]) -> None:
    model, twin = net(), net()
    optimizer, straight = (cls(m.parameters(), lr=0.01, maximize=True) for m in (model, twin))
    train(model, optimizer, 6)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=True)
    rule = cls.rule
    numbers = [] if rule.measures else rule.lane_buffers
    assert set(loaded["state"][0]) == {"step", *rule.buffers, *numbers}
    assert loaded["state"][0]["step"] == 6
    group = set(cls.__signature__.parameters) - NOT_KEPT | {"params", "peak_lr"}
    assert set(loaded["param_groups"][0]) == group | ({"lane_state"} if rule.measures else set())
    fresh = cls(model.parameters(), lr=1.0)
    fresh.load_state_dict(loaded)
    assert fresh.param_groups[0]["lr"] == 0.01
    assert fresh.param_groups[0]["maximize"] is True
    assert train(model, fresh, 6) == train(twin, straight, 12)[6:]


EXCHANGED = [
    ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", {}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("Adagrad", {"lr_decay": 0.01, "initial_accumulator_value": 0.3}),
    ("Adadelta", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("NAdam", {}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adamax", {}),
    ("Rprop", {}),
    ("ASGD", {"t0": 20, "lambd": 0.01}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adafactor", {}),
]


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(("name", "chosen"), EXCHANGED)
@pytest.mark.usefixtures("double_by_default")
def test_state_dict_goes_over_to_torch_and_back(
    name: str, chosen: dict[str, Any], ours_first: bool
) -> None:
    """Options of the state win, so that training goes on as if it had been one optimizer."""
    libraries = (optimizers, torch.optim) if ours_first else (torch.optim, optimizers)
    first, second = (getattr(library, name) for library in libraries)
    expected = getattr(torch.optim, name)(parameters(), lr=0.02, **chosen)
    train_on_noise(expected)
    before = first(parameters(), lr=0.02, **chosen)
    params = [torch.nn.Parameter(p.clone()) for p in train_on_noise(before)]
    after = second(params, lr=1.0)
    after.load_state_dict(before.state_dict())
    assert_parity(after, expected)


@pytest.mark.parametrize(
    ("source", "chosen", "key", "value"),
    [
        ("Adam", {"amsgrad": True}, "amsgrad", True),
        ("AdamW", {"weight_decay": 0.1}, "decay", "decoupled"),
    ],
)
def test_a_state_of_another_meaning_brings_its_meaning(
    source: str, chosen: dict[str, Any], key: str, value: object
) -> None:
    """Of AMSGrad or of decoupled decay, loaded by an Adam that was made without."""
    theirs = getattr(torch.optim, source)(parameters(), lr=0.02, **chosen)
    params = [torch.nn.Parameter(p.clone()) for p in train_on_noise(theirs)]
    ours = optimizers.Adam(params)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert ours.param_groups[0][key] == value
    assert_parity(ours, theirs)


@pytest.mark.parametrize("name", ["Adagrad", "SGD"])
def test_a_state_of_no_steps_is_a_fresh_start(name: str) -> None:
    """torch's Adagrad has its accumulator before the first step."""
    chosen = {"initial_accumulator_value": 0.3} if name == "Adagrad" else {"momentum": 0.9}
    theirs = getattr(torch.optim, name)(parameters(), lr=0.02, **chosen)
    ours = getattr(optimizers, name)(parameters())
    ours.load_state_dict(theirs.state_dict())
    assert_parity(ours, theirs)
