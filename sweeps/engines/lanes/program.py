"""`Program`: the whole training step of K lanes as one graph of tensor operations.

A step (gather the batches, forward, backward, metrics, update) is traced once, on tensors without
data, and runs from then on with no Python between its operations: as it is, or compiled. What
differs from step to step comes in as tensors, so that refills, schedules and other hyperparameters
use the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from optimizers.lane_tables import Tables, update_lanes
from sweeps.engines.lanes.batches import Gather, Parts, constant
from sweeps.engines.lanes.reusing import reuse_memory
from sweeps.engines.lanes.rewriting import drop_no_ops, turn_products, turn_softmax
from sweeps.engines.lanes.stack import Function, Named, Stack


class Program:
    """A traced step; `metrics` names what it returns beside losses and gradient.

    `static` are the places of those of its inputs that stay where they are in memory.
    """

    def __init__(
        self, traced: fx.GraphModule, metrics: Sequence[str], static: Sequence[int]
    ) -> None:
        self._traced, self._metrics, self.static = traced, metrics, static
        self._call: Callable[..., Any] = traced
        self._replayed = False  # as a CUDA graph, whose outputs the next replay writes over
        self.seconds = 0.0  # spent in it so far
        self.compiled = False

    @torch.no_grad()
    def __call__(self, taken: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Take a step: losses [K], metrics [K] and gradient [K, P]; `taken` as `Feeding` has it.

        Weights, buffers and the optimizers' state go on in place. A step without `Tables` leaves
        the weights as they are; any other returns no gradient.
        """
        if self._replayed:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        losses, *found = self._call(*taken)
        if self._replayed:
            losses, *found = (output.clone() for output in (losses, *found))
        count = len(self._metrics)
        metrics = dict(zip(self._metrics, found[:count], strict=True))
        return losses, metrics, found[count] if found[count:] else None

    @torch.no_grad()
    def compile(self, taken: Sequence[Tensor]) -> None:
        """Make machine code of it; on CUDA also a graph that is replayed.

        Raises:
            Exception: there is no compiler, or it fails.
        """
        from torch._inductor.compile_fx import compile_fx  # seconds, which eager steps do without

        replayed = taken[0].is_cuda
        made: Any = compile_fx(
            self._traced,
            list(taken),
            inner_compile=partial(_compile_inner, self.static, len(taken)),
            config_patches={"triton.cudagraphs": True} if replayed else None,
        )
        self._call, self.compiled, self._replayed = made, True, replayed


def _compile_inner(
    static: Sequence[int], count: int, graph: fx.GraphModule, inputs: Sequence[Any], **more: Any
) -> Any:
    """Compile a graph whose `static` ones of `count` inputs stay where they are in memory.

    Inductor knows this by itself of `torch.compile`'s weights only. It makes no CUDA graph of what
    writes into other inputs, and copies those at each replay.
    """
    from torch._inductor.compile_fx import compile_fx_inner

    lifted = len(inputs) - count  # what the model holds beside its buffers comes first
    places = [*range(lifted), *(lifted + place for place in static)]
    return compile_fx_inner(graph, inputs, **{**more, "static_input_idxs": places})


class Feeding:
    """What the steps of an epoch take: the same tensors all along, and each step's own."""

    def __init__(self, stack: Stack, tables: Tables | None) -> None:
        self._values = tables.values if tables else []
        buffers, masks = (tables.buffers, tables.masks) if tables else ([], [])
        self._same = (stack.flat, stack.held, buffers, masks)
        self._leaves = tree_leaves(self._same)

    def static(self, gather: Gather, parts: Parts) -> list[int]:
        """Return which of the tensors that a step takes are the same ones all along."""
        before = len(self._leaves) + len(self._values)
        count = before + len(parts)
        return [*range(len(self._leaves)), *range(count - constant(gather, parts), count)]

    def example(self, parts: Parts) -> tuple[Any, ...]:
        """Return what the first step takes, as `trace` wants it."""
        return *self._same, [table[0] for table in self._values], list(parts)

    def __call__(self, step: int, parts: Parts) -> list[Tensor]:
        """Return what a step (from 0) takes."""
        return [*self._leaves, *(table[step] for table in self._values), *parts]


def trace(
    stack: Stack,
    loss: Function,
    metrics: Mapping[str, Function],
    gather: Gather,
    tables: Tables | None,
    parts: Parts,
) -> Program:
    """Trace a step on these shapes; without `tables` one that ends at the gradient.

    Raises:
        Exception: the model, the loss or a metric does what depends on numbers, not on shapes.
    """

    def step(
        flat: Tensor,
        held: Named,
        buffers: list[Named],
        masks: list[Tensor],
        values: list[Tensor],
        parts: list[Tensor],
    ) -> list[Tensor]:
        inputs, target = gather(*parts)
        grad, output, losses = stack.gradient(flat, held, inputs, target, loss)
        with torch.no_grad():
            found = stack.judge(output, target, metrics, apart=True)
            if tables is None:
                return [losses, *found.values(), grad]
            update_lanes(tables.formulas, flat, grad, buffers, values, masks)
        return [losses, *found.values()]

    feeding = Feeding(stack, tables)
    leaves, tree = tree_flatten(feeding.example(parts))
    # A tensor that the model or the loss holds beside its buffers becomes a constant of it.
    flat_step = lambda *taken: step(*tree_unflatten(taken, tree))  # noqa: E731
    traced = make_fx(flat_step, None, "fake", _allow_non_fake_inputs=True)(*leaves)
    _refuse_by_lane(stack, metrics)
    _rewrite(traced)
    return Program(traced, list(metrics), feeding.static(gather, parts))


def _rewrite(traced: fx.GraphModule) -> None:
    for rewrite in (drop_no_ops, turn_products, turn_softmax, drop_no_ops, reuse_memory):
        rewrite(traced.graph)
    traced.recompile()


def _refuse_by_lane(stack: Stack, metrics: Mapping[str, Function]) -> None:
    """A trace would go on to call such a metric for the lanes that are in use now."""
    if by_lane := stack.called_by_lane & metrics.keys():
        raise RuntimeError(f"the metric '{min(by_lane)}' is called lane by lane")
