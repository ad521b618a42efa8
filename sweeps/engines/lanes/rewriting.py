"""What a traced step is rewritten to: the same numbers by cheaper operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
_BMM = torch.ops.aten.bmm.default
_PERMUTE = torch.ops.aten.permute.default
_TRANSPOSE = torch.ops.aten.transpose.int


def turn_products(module: fx.GraphModule) -> None:
    """Make a transposed product [K, n, m] of `(x y)^T` as `y^T x^T`, in the order that is wanted.

    The gradient of a linear layer's weight [K, out, in] comes as the transpose of `x^T dy`, and
    to put that beside the others each number would be fetched from another row.
    """
    graph = module.graph
    nodes: list[Any] = list(graph.nodes)
    for node in nodes:
        if not _is_transpose(node):
            continue
        product = _without_views(node.args[0])
        if product.target is not _BMM or _is_written(product):
            continue
        x, y = product.args
        with graph.inserting_before(node):
            turned = [graph.call_function(_PERMUTE, (each, [0, 2, 1])) for each in (y, x)]
            new = graph.call_function(_BMM, tuple(turned))
        for made, like in zip(turned, (y, x), strict=True):
            made.meta["val"] = like.meta["val"].permute(0, 2, 1)
        new.meta["val"] = node.meta["val"].contiguous()
        node.replace_all_uses_with(new)
    graph.eliminate_dead_code()
    module.recompile()


def _is_transpose(node: Any) -> bool:
    if node.target not in (_TRANSPOSE, _PERMUTE) or node.meta["val"].dim() != 3:
        return False
    if node.target is _TRANSPOSE:
        return {int(axis) % 3 for axis in node.args[1:]} == {1, 2}
    return [int(axis) % 3 for axis in node.args[1]] == [0, 2, 1]


def _is_written(node: Any) -> bool:
    """Is the tensor, or a view of it, changed in place somewhere?"""
    for user in node.users:
        schema = getattr(user.target, "_schema", None)
        if schema is None:  # the graph's output
            continue
        is_view = user.target in _VIEWS or any(x.alias_info is not None for x in schema.returns)
        if schema.is_mutable or (is_view and _is_written(user)):
            return True
    return False


def _without_views(node: Any) -> Any:
    """Return what the node is a view of, as far as its shape is the same."""
    while node.target in _VIEWS and node.meta["val"].shape == node.args[0].meta["val"].shape:
        node = node.args[0]
    return node
