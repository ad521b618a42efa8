"""`Uses`: which memory is behind a graph's tensors, and when it is read or written."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx


class Uses:
    """Of a traced graph whose nodes have `val`, by places: 0 is the first node.

    Tensors with one storage are one memory, and a result may be given the memory of another.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.nodes: list[Any] = list(graph.nodes)
        self.place = {node: place for place, node in enumerate(self.nodes)}
        self._given: dict[int, int] = {}  # storage -> the one whose memory it has
        self._own: set[int] = set()
        self._sharing: dict[int, list[Any]] = defaultdict(list)
        self._at: dict[int, list[int]] = defaultdict(list)
        self._written: dict[int, list[int]] = defaultdict(list)
        seen: set[int] = set()
        for node, place in self.place.items():
            for each in node.all_input_nodes:
                for storage in _storages(each):
                    self._at[storage].append(place)
            for each in _changed(node):
                self._written[_storages(each)[0]].append(place)
            for storage in _storages(node):
                self._sharing[storage].append(node)
            new = set(_storages(node)) - seen
            if node.op == "call_function":
                self._own |= new
            seen |= new

    def of(self, node: Any) -> list[int]:
        """Return the places that read or write the node's memory."""
        return self._at[self._root(node)]

    def written(self, node: Any) -> list[int]:
        """Return the places that write it, beside the one that made it."""
        return self._written[self._root(node)]

    def is_own(self, node: Any) -> bool:
        """Was its memory made by the graph itself?"""
        return self._root(node) in self._own

    def sharing(self, node: Any) -> list[Any]:
        """Return the nodes with the node's storage: itself, what it is a view of, its views."""
        (storage,) = _storages(node)
        return self._sharing[storage]

    def shares(self, one: Any, other: Any) -> bool:
        return self._root(one) == self._root(other)

    def give(self, node: Any, new: Any, memory: Any) -> None:
        """`new` stands for `node` from now on, with the memory of another node."""
        self.place[new] = self.place.pop(node)
        old, root = self._root(new), self._root(memory)
        if old != root:
            self._given[old] = root
            self._at[root] = sorted({*self._at[root], *self._at[old], self.place[new]})
            self._written[root] = sorted({*self._written[root], *self._written[old]})

    def _root(self, node: Any) -> int:
        (storage,) = _storages(node)
        while storage in self._given:
            storage = self._given[storage]
        return storage


def is_tensor(node: Any) -> bool:
    """Does the node stand for one tensor?"""
    return isinstance(node.meta.get("val"), Tensor)


def layout(node: Any) -> tuple[Any, ...]:
    """Return what two tensors must have alike to be one another's memory, number by number."""
    value = node.meta["val"]
    return value.dtype, value.device, value.shape, value.stride(), value.storage_offset()


def _storages(node: Any) -> list[int]:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return [each.untyped_storage()._cdata for each in values if isinstance(each, Tensor)]


def _changed(node: Any) -> list[Any]:
    """Return the inputs that the operation writes into."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    found = []
    for place, argument in enumerate(node.target._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
            each = given if isinstance(given, list | tuple) else [given]
            found += [one for one in each if isinstance(one, fx.Node) and is_tensor(one)]
    return found
