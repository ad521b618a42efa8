"""What a traced step is rewritten to: the same numbers by cheaper operations.

Who has a graph rewritten recompiles its module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from sweeps.engines.lanes.uses import Uses, is_tensor, layout

_SHORT = 32
"""Up to so many classes, a softmax over the last axis takes many times one over the first."""
_SAME = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)
_TIMES = (torch.ops.aten.mul.Scalar, torch.ops.aten.mul.Tensor)
_SOFTMAX = torch.ops.aten._log_softmax.default
_SOFTMAX_BACKWARD = torch.ops.aten._log_softmax_backward_data.default
_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
_BMM = torch.ops.aten.bmm.default
_CLONE = torch.ops.aten.clone.default
_EXPAND = torch.ops.aten.expand.default
_PERMUTE = torch.ops.aten.permute.default
_TRANSPOSE = torch.ops.aten.transpose.int


def turn_products(graph: fx.Graph) -> None:
    """Make a transposed product [K, n, m] of `(x y)^T` as `y^T x^T`, in the order that is wanted.

    The gradient of a linear layer's weight [K, out, in] comes as the transpose of `x^T dy`, and
    to put that beside the others (a copy) each number would be fetched from another row.
    """
    nodes: list[Any] = list(graph.nodes)
    for node in nodes:
        if not _is_transpose(node):
            continue
        product = _without_views(node.args[0])
        if product.target is not _BMM or _is_written(product):
            continue
        if not all(user.target is _CLONE and _is_contiguous(user) for user in node.users):
            continue  # who asks for its strides, or for a part of it
        x, y = product.args
        with graph.inserting_before(product):
            turned = [graph.call_function(_PERMUTE, (each, [0, 2, 1])) for each in (y, x)]
            new = graph.call_function(_BMM, tuple(turned))
        for made, like in zip(turned, (y, x), strict=True):
            made.meta["val"] = like.meta["val"].permute(0, 2, 1)
        new.meta["val"] = node.meta["val"].contiguous()
        node.replace_all_uses_with(new)
    graph.eliminate_dead_code()


def drop_no_ops(graph: fx.Graph) -> None:
    """Take out what returns its input: views as it is, copies that nobody tells from it."""
    uses = Uses(graph)
    for node in uses.nodes:
        if not is_tensor(node) or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        same = node.args[0]
        if not is_tensor(same) or layout(same) != layout(node):
            continue
        copied = node.target not in (*_SAME, *_VIEWS, _EXPAND)
        if not copied or _is_copy_of(node, same, uses):
            uses.give(node, node, same)
            node.replace_all_uses_with(same)
            graph.erase_node(node)


def _is_copy_of(node: Any, same: Any, uses: Uses) -> bool:
    """Is it a copy of what does not change while the copy is there, nor the copy?"""
    one = node.target in _TIMES and isinstance(node.args[1], int | float) and node.args[1] == 1
    if node.target is not _CLONE and not one:
        return False
    made, last = uses.place[node], max(uses.of(node), default=-1)
    if uses.is_own(same) and max(uses.of(same)) == made:
        return True
    between = [at for at in uses.written(same) if made < at <= last]
    return not between and not uses.written(node)


def turn_softmax(graph: fx.Graph) -> None:
    """Take logarithms of softmax over few classes with the classes first, where rows are long."""
    turned: dict[Any, Any] = {}  # a result -> the same with its classes first
    for node in list(graph.nodes):
        if node.target not in (_SOFTMAX, _SOFTMAX_BACKWARD) or not _is_short(node):
            continue
        with graph.inserting_before(node):
            if node.target is _SOFTMAX:
                first = _classes_first(graph, node.args[0])
                new = graph.call_function(_SOFTMAX, (first, 0, node.args[2]))
            else:
                grad, output, _, dtype = node.args
                known = turned.get(output) or _classes_first(graph, output)
                first = _classes_first(graph, grad)
                new = graph.call_function(_SOFTMAX_BACKWARD, (first, known, 0, dtype))
            new.meta["val"] = torch.empty_like(first.meta["val"], dtype=node.meta["val"].dtype)
            axes = [*range(1, node.meta["val"].dim()), 0]
            back = _contiguous(graph, new, axes)
        turned[back] = new
        node.replace_all_uses_with(back)
        graph.erase_node(node)


def _is_short(node: Any) -> bool:
    """Is it over a short last axis of a tensor on a processor?"""
    value = node.meta["val"]
    dim = node.args[1 if node.target is _SOFTMAX else 2] % max(value.dim(), 1)
    last = value.dim() > 1 and dim == value.dim() - 1
    return bool(last and value.is_cpu and value.shape[-1] <= _SHORT and value.is_contiguous())


def _classes_first(graph: fx.Graph, node: Any) -> Any:
    last = node.meta["val"].dim() - 1
    return _contiguous(graph, node, [last, *range(last)])


def _contiguous(graph: fx.Graph, node: Any, axes: list[int]) -> Any:
    turned = graph.call_function(_PERMUTE, (node, axes))
    turned.meta["val"] = node.meta["val"].permute(axes)
    made = graph.call_function(_CLONE, (turned,), {"memory_format": torch.contiguous_format})
    made.meta["val"] = turned.meta["val"].clone(memory_format=torch.contiguous_format)
    return made


def _is_contiguous(node: Any) -> bool:
    return bool(node.meta["val"].is_contiguous())


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
