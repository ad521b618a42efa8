"""A nested state becomes tensors and JSON, and is the same again."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeps.state_tree import UnstorableError, flatten, unflatten

WHOLE = torch.arange(12.0)
LAST = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)

TREES: dict[str, Any] = {
    "nothing": None,
    "numbers": [True, False, 0, -3, 2**70, 0.1 + 0.2, 5e-324, -0.0, 1.0],
    "not finite": {"nan": math.nan, "inf": (math.inf, -math.inf)},
    "text": {"": "größer / 'quoted' \" \n", "tensor": "tensor", "dict": {"dict": []}},
    "nested": {"a": [(), [], {}, (1, [2, (3,)]), None]},
    "keys": {0: "int", "0": "text", -1: {1: 2}, "float": {"float": "nan"}},
    "ordered": OrderedDict(b=1, a=2),
    "tensors": {0: WHOLE, "0": torch.tensor(0.25, dtype=torch.float64), "e": torch.zeros(0, 3)},
    "shared": [WHOLE[2:5], WHOLE[3:], WHOLE, WHOLE.view(3, 4).t(), torch.ones(1).expand(3)],
    "types": [
        torch.tensor([1.5, -2.0, 3e38], dtype=torch.bfloat16),
        torch.tensor([math.nan, math.inf, -0.0, 1e-40]),
        torch.tensor([True, False]),
        torch.tensor(2**62),
        torch.tensor([1, 255], dtype=torch.uint8),
        torch.tensor([1 + 2j], dtype=torch.complex64),
        torch.tensor([1.0], dtype=torch.float16),
    ],
    "formats": [LAST, torch.randn(1, 2, 3, 4, 5).to(memory_format=torch.channels_last_3d)],
    "parameter": nn.Parameter(torch.ones(2)),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        kinds = (a.dtype, a.shape) == (b.dtype, b.shape)
        return kinds and torch.equal(a.detach().reshape(-1).view(-1).contiguous().view(torch.uint8),
                                     b.reshape(-1).contiguous().view(torch.uint8))  # fmt: skip
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("name", TREES)
def test_a_tree_comes_back(name: str) -> None:
    data, tensors = flatten({"root": TREES[name]})
    text = json.dumps(data, allow_nan=False)
    assert same(unflatten(json.loads(text), tensors)["root"], TREES[name])


def test_names_are_paths_and_a_copy_is_taken() -> None:
    weight = torch.ones(2)
    data, tensors = flatten({"state": {0: {"exp_avg": weight}, "0": {"exp_avg": weight}}})
    assert list(tensors) == ["state/0/exp_avg", "state/0/exp_avg'"]
    weight.fill_(9.0)
    assert unflatten(data, tensors)["state"][0]["exp_avg"].tolist() == [1.0, 1.0]


def test_the_memory_format_comes_back() -> None:
    data, tensors = flatten({"w": LAST, "t": WHOLE.view(3, 4).t()})
    back = unflatten(data, tensors)
    assert back["w"].stride() == LAST.stride()
    assert back["t"].stride() == (3, 1)
    assert all(tensor.is_contiguous() for tensor in tensors.values())


class Own(Tensor):
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "a set at state/x"),
        (object(), "a object at state/x"),
        (b"x", "a bytes at state/x"),
        (1j, "a complex at state/x"),
        ({(1, 2): 3}, "a key of type tuple at state/x"),
        ({True: 3}, "a key of type bool at state/x"),
        (torch.float32, "a torch.dtype at state/x"),
        (torch.eye(2).to_sparse(), "torch.sparse_coo at state/x"),
        (torch.empty(2, device="meta"), "at state/x"),
        (torch.zeros(1, dtype=torch.complex128), "torch.complex128"),
        (torch.ones(1).as_subclass(Own), "test_state_tree.Own of torch.float32"),
    ],
)
def test_what_has_no_place_is_named(value: object, says: str) -> None:
    with pytest.raises(UnstorableError, match=says):
        flatten({"state": {"x": value}})
