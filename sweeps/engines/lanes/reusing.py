"""Where a traced step writes its results: into memory that is there already.

On a processor a step of many small models is bound by memory. An elementwise operation writes
where its result is copied to anyway (a weight, a moment), or over what nobody reads any more,
instead of into memory that the caches do not hold. The numbers are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from sweeps.engines.lanes.uses import Uses, is_tensor, layout

_COPY = torch.ops.aten.copy_.default


def reuse_memory(graph: fx.Graph) -> None:
    """Let elementwise operations write over what is dead, or where a copy would bring it."""
    uses = Uses(graph)
    made: list[Any] = []  # whose memory may be dead by now
    dropped: set[Any] = set()
    for node in uses.nodes:
        if node in dropped:
            continue
        new, out = node, _out_variant(node)
        copy = _copied_by(node, uses) if out else None
        place = _dead(node, made, uses) if out and copy is None else copy and copy.args[0]
        if out and place is not None:
            overload, name = out
            with graph.inserting_before(node):
                new = graph.call_function(overload, node.args, {**node.kwargs, name: place})
            new.meta = node.meta
            uses.give(node, new, place)
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        if copy is not None:
            uses.of(place).remove(uses.place[copy])
            copy.replace_all_uses_with(place)
            graph.erase_node(copy)
            dropped.add(copy)
        if node.op == "call_function" and is_tensor(new):
            made.append(new)


def _copied_by(node: Any, uses: Uses) -> Any:
    """Return the copy that brings the result to where it can be made; None: there is none."""
    for user in node.users:
        if user.target is not _COPY or user.args[1] is not node or user.args[0] is node:
            continue
        target = user.args[0]
        made, copied = uses.place[node], uses.place[user]
        free = all(at <= made or at == copied for at in uses.of(target))
        free = free and all(at < copied for at in uses.written(node))
        if free and uses.place[target] < made and _fits(node, target, uses):
            return user
    return None


def _dead(node: Any, made: list[Any], uses: Uses) -> Any:
    """Return a tensor that nothing reads after the operation, an input if there is one."""
    last = max(uses.of(node), default=0)
    for each in [*node.all_input_nodes, *reversed(made)]:
        if not is_tensor(each) or not _fits(node, each, uses):
            continue
        later = [at for at in uses.of(each) if at > uses.place[node]]
        if uses.is_own(each):
            if not later:
                return each
        elif len(later) == 1 and last < later[0] and _overwrites(later[0], each, uses):
            return each
    return None


def _overwrites(place: int, memory: Any, uses: Uses) -> bool:
    """Is there a copy of something else that leaves nothing of what is there?"""
    node = uses.nodes[place]
    if node.target is not _COPY or layout(node.args[0]) != layout(memory):
        return False
    return uses.shares(node.args[0], memory) and not uses.shares(node.args[1], memory)


def _fits(node: Any, place: Any, uses: Uses) -> bool:
    """Can the result be written there, number by number as the inputs are read?"""
    if layout(node)[:-1] != layout(place)[:-1] or not node.meta["val"].is_contiguous():
        return False
    inputs = [each for each in node.all_input_nodes if is_tensor(each)]
    return all(layout(each) == layout(place) for each in inputs if uses.shares(each, place))


def _out_variant(node: Any) -> tuple[Any, str] | None:
    """Return the variant of an elementwise operation that writes into a given tensor."""
    op = node.target
    if not isinstance(op, torch._ops.OpOverload) or torch.Tag.pointwise not in op.tags:
        return None
    if op._schema.is_mutable or not is_tensor(node):
        return None
    wanted = [(each.name, str(each.type)) for each in op._schema.arguments]
    packet = op.overloadpacket
    for overload in (getattr(packet, name) for name in packet.overloads()):
        written = [each for each in overload._schema.arguments if each.is_out]
        taken = [(e.name, str(e.type)) for e in overload._schema.arguments if not e.is_out]
        if len(written) == 1 and taken == wanted:
            return overload, written[0].name
    return None
