"""A nested state as flat tensors and JSON, and back: what `state_dict`s are made of, no pickle.

    {"betas": (0.9, nan), "state": {0: Tensor}}
    ->  {"state/0": Tensor}  and
        {"dict": [["betas", {"tuple": [0.9, {"float": "nan"}]}],
                  ["state", {"dict": [[0, {"tensor": "state/0"}]]}]]}

None, booleans, integers, finite floats and text stand for themselves, lists for lists. A tensor
that shares its storage with another is written by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_FORMATS = {"channels_last": torch.channels_last, "channels_last_3d": torch.channels_last_3d}


class UnstorableError(Exception):
    """A state holds something that has no place in such a file."""


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return the tree as JSON-able data, and its tensors by name, as contiguous copies on the CPU.

    Raises:
        UnstorableError: names the place and the type of what is neither of these.
    """
    tensors: dict[str, Tensor] = {}
    return _flatten(tree, (), tensors), tensors


def unflatten(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the tree that `flatten` was given; its tensors are those of `tensors`.

    Raises:
        KeyError, ValueError, TypeError: `flatten` made no such data.
    """
    if isinstance(node, list):
        return [unflatten(each, tensors) for each in node]
    if not isinstance(node, dict):
        return node
    if "dict" in node:
        return {key: unflatten(value, tensors) for key, value in node["dict"]}
    if "tuple" in node:
        return tuple(unflatten(each, tensors) for each in node["tuple"])
    if "float" in node:
        return float(node["float"])
    tensor = tensors[node["tensor"]]
    if "format" in node:
        return tensor.contiguous(memory_format=_FORMATS[node["format"]])
    return tensor


def _flatten(node: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if node is None or type(node) in (bool, int, str):
        return node
    if isinstance(node, float):  # NumPy's float64 too
        return float(node) if math.isfinite(node) else {"float": str(float(node))}
    if isinstance(node, Tensor):
        return _tensor(node, path, tensors)
    if isinstance(node, dict):
        wrong = [key for key in node if type(key) not in (str, int)]
        if wrong:
            raise UnstorableError(f"a key of type {_type(wrong[0])} at {_place(path)}")
        pairs = [[key, _flatten(each, (*path, str(key)), tensors)] for key, each in node.items()]
        return {"dict": pairs}
    if type(node) in (list, tuple):
        items = [_flatten(each, (*path, str(n)), tensors) for n, each in enumerate(node)]
        return items if isinstance(node, list) else {"tuple": items}
    raise UnstorableError(f"a {_type(node)} at {_place(path)}")


def _tensor(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor]) -> dict[str, str]:
    plain = type(tensor.detach()) is Tensor and tensor.layout is torch.strided
    if not plain or tensor.is_meta or tensor.dtype not in (*_FLOATS, *_INTEGERS):
        kind = f"{_type(tensor)} of {tensor.dtype}, {tensor.layout}"
        raise UnstorableError(f"a {kind} at {_place(path)}")
    name = "/".join(path) or "tensor"
    while name in tensors:  # of the keys 0 and "0"
        name += "'"
    tensors[name] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if tensor.is_contiguous():
        return {"tensor": name}
    formats = [name for name, each in _FORMATS.items() if _is_of(tensor, each)]
    return {"tensor": name, "format": formats[0]} if formats else {"tensor": name}


def _is_of(tensor: Tensor, memory_format: torch.memory_format) -> bool:
    dimensions = 4 if memory_format is torch.channels_last else 5
    return tensor.dim() == dimensions and tensor.is_contiguous(memory_format=memory_format)


def _type(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _place(path: tuple[str, ...]) -> str:
    return "/".join(path) or "its top"
