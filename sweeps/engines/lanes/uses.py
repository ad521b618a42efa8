"""`Uses`: which memory is behind a graph's tensors, and when it is read or written."""

from __future__ import annotations

import operator
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx

_UNSAFE_VIEW = torch.ops.aten._unsafe_view.default  # a view, whatever its schema says


class Uses:
    """Of a traced graph, by places: 0 is the first node.

    Tensors are one memory where an operation returns a view, and where their `val` has one storage:
    that of a node that was rewritten may be another than its views'. A result may be given the
    memory of another one.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.nodes: list[Any] = list(graph.nodes)
        self.place = {node: place for place, node in enumerate(self.nodes)}
        self._home: dict[Any, Any] = {}  # a node -> one that has the same memory
        first: dict[int, Any] = {}
        foreign: list[Any] = []
        for node in self.nodes:
            for each in [*_viewed(node), *(first.setdefault(s, node) for s in _storages(node))]:
                self._join(each, node)
            if node.op != "call_function":
                foreign.append(node)
        self._foreign = {self._root(node) for node in foreign}
        self._at: dict[Any, list[int]] = defaultdict(list)
        self._written: dict[Any, list[int]] = defaultdict(list)
        for node, place in self.place.items():
            for each in {self._root(each) for each in node.all_input_nodes}:
                self._at[each].append(place)
            for each in {self._root(each) for each in _changed(node)}:
                self._written[each].append(place)

    def of(self, node: Any) -> list[int]:
        """Return the places that read or write the node's memory."""
        return self._at[self._root(node)]

    def written(self, node: Any) -> list[int]:
        """Return the places that write it, beside the one that made it."""
        return self._written[self._root(node)]

    def is_own(self, node: Any) -> bool:
        """Was its memory made by the graph itself?"""
        return self._root(node) not in self._foreign

    def shares(self, one: Any, other: Any) -> bool:
        return bool(self._root(one) is self._root(other))

    def give(self, node: Any, new: Any, memory: Any) -> None:
        """`new` stands for `node` from now on, with the memory of another node."""
        self.place[new] = self.place.pop(node)
        self._home.setdefault(new, node)
        old, root = self._root(new), self._root(memory)
        if old is not root:
            self._home[old] = root
            self._at[root] = sorted({*self._at[root], *self._at[old], self.place[new]})
            self._written[root] = sorted({*self._written[root], *self._written[old]})

    def _join(self, one: Any, other: Any) -> None:
        one, other = self._root(one), self._root(other)
        if one is not other:
            self._home[other] = one

    def _root(self, node: Any) -> Any:
        while self._home.get(node, node) is not node:
            node = self._home[node]
        return node


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


def _viewed(node: Any) -> list[Any]:
    """Return the inputs whose memory the operation returns, by its schema."""
    if node.target in (operator.getitem, _UNSAFE_VIEW):
        return [node.args[0]]
    schema = getattr(node.target, "_schema", None)
    if schema is None or all(each.alias_info is None for each in schema.returns):
        return []
    return [each for _, each in _aliased(node)]


def _changed(node: Any) -> list[Any]:
    """Return the inputs that the operation writes into."""
    return [each for is_written, each in _aliased(node) if is_written]


def _aliased(node: Any) -> list[tuple[bool, Any]]:
    """Return the inputs that an operation's schema names as returned or written, which: written?"""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    found = []
    for place, argument in enumerate(node.target._schema.arguments):
        if argument.alias_info is None:
            continue
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        each = given if isinstance(given, list | tuple) else [given]
        written = argument.alias_info.is_write
        found += [(written, one) for one in each if isinstance(one, fx.Node)]
    return found
