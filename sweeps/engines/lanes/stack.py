"""`Stack`: K models of one architecture as one program.

The trained weights of all lanes are one leaf [K, P]; everything else that a model holds (buffers,
weights that are not trained) is stacked [K, *shape]. One forward gives K losses, and one backward of
their sum K gradients: nothing crosses lanes, and one with NaN stays alone.

A `fused` stack calls the model once for all lanes (`torch.vmap`); otherwise once a lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from optimizers.lanes import cut

Inputs = tuple[Tensor, ...]
Function = Callable[[Any, Tensor], Tensor]
Named = dict[str, Tensor]


class Stack:
    """K copies of `model`, whose own weights are not used; lanes are filled by `put`.

    `untrained` names parameters that get no gradient. `context` is the forward pass's (autocast).
    """

    def __init__(
        self,
        model: nn.Module,
        lanes: int,
        *,
        fused: bool,
        untrained: frozenset[str],
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model, self._context = model, context
        self.fused, self._untrained = fused, untrained
        self._single: set[str] = set()  # functions that vmap cannot call
        self._trained = {n: p for n, p in model.named_parameters() if n not in untrained}
        self.shapes = [tuple(p.shape) for p in self._trained.values()]
        first = next(iter(self._trained.values()))
        size = sum(p.numel() for p in self._trained.values())
        self.flat = first.detach().new_zeros(lanes, size).requires_grad_()
        self.held = {name: x.new_zeros(lanes, *x.shape) for name, x in self._rest(model).items()}

    @property
    def lanes(self) -> int:
        """K."""
        return self.flat.shape[0]

    @torch.no_grad()
    def put(self, lane: int, model: nn.Module) -> None:
        """Give a lane the weights and buffers of `model`."""
        params = dict(model.named_parameters())
        self.flat[lane] = torch.cat([params[name].detach().reshape(-1) for name in self._trained])
        for name, x in self._rest(model).items():
            self.held[name][lane] = x

    @torch.no_grad()
    def take(self, lane: int, model: nn.Module) -> None:
        """Give `model` the weights and buffers of a lane."""
        params = dict(model.named_parameters())
        for name, x in zip(self._trained, cut(self.flat[lane : lane + 1], self.shapes), strict=True):
            params[name].copy_(x[0])
        for name, x in self._rest(model).items():
            x.copy_(self.held[name][lane])

    def compact(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes only, in this order; the caller compacts the optimizer's `flat`."""
        index = torch.tensor(list(lanes), device=self.flat.device)
        self.held = {name: x.index_select(0, index) for name, x in self.held.items()}

    def train(self, inputs: Inputs, target: Tensor, loss: Function) -> tuple[Any, Tensor]:
        """Forward and backward in training mode: inputs and target [K, B, ...].

        Returns the outputs [K, B, ...] without their graph and the losses [K]; the gradient is
        `flat.grad`.
        """

        def call(own: Named, held: Named, x: Inputs, y: Tensor) -> Any:
            output = functional_call(self._model, (own, held), x)
            return output, loss(output, y)

        self._model.train()
        output, losses = self._each(call, self.flat, inputs, target, apart=True)
        self.flat.grad = None
        torch.autograd.backward(losses.sum())
        return tree_map(lambda x: x.detach(), output), losses.detach()

    @torch.no_grad()
    def measure(
        self, flat: Tensor, inputs: Inputs, target: Tensor, functions: Mapping[str, Function]
    ) -> dict[str, Tensor]:
        """Evaluate weights [K, P] on one batch that all lanes share; each function's values [K]."""
        self._model.eval()
        output = self._each(self._output, flat, inputs, apart=False)
        return self.judge(output, target, functions, apart=False)

    @torch.no_grad()
    def judge(
        self, output: Any, target: Tensor, functions: Mapping[str, Function], *, apart: bool
    ) -> dict[str, Tensor]:
        """Each function of output [K, B, ...] and target ([K, B, ...] if `apart`), as [K]."""
        return {
            name: self._judged(name, output, target, function, apart=apart).detach().double()
            for name, function in functions.items()
        }

    @torch.no_grad()
    def calibrate(self, flat: Tensor, batches: Iterable[tuple[Inputs, Tensor]]) -> None:
        """Set the BatchNorm statistics of all lanes to the means over `batches` under `flat`.

        Source: torch.optim.swa_utils.update_bn, whose cumulative average this is.
        """
        norms = [module for module in self._model.modules() if isinstance(module, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        self._model.train()
        try:
            for count, (inputs, _) in enumerate(batches, start=1):
                for norm in norms:
                    norm.momentum = 1 / count  # the first batch leaves nothing of what was before
                self._each(self._output, flat, inputs, apart=True)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    @property
    def has_batch_norm(self) -> bool:
        """Does the model keep statistics of its batches?"""
        return any(isinstance(module, _BatchNorm) for module in self._model.modules())

    def _output(self, own: Named, held: Named, x: Inputs) -> Any:
        return functional_call(self._model, (own, held), x)

    def _each(self, call: Callable[..., Any], flat: Tensor, *batch: Any, apart: bool) -> Any:
        """`call` with each lane's weights, buffers and batch; the results stacked."""
        params = dict(zip(self._trained, cut(flat, self.shapes), strict=True))
        with self._context():
            if self.fused:
                dims = (0, 0, *[0 if apart else None for _ in batch])
                return torch.vmap(call, in_dims=dims, randomness="different")(
                    params, self.held, *batch
                )
            results = []
            for lane in range(self.lanes):
                own = {name: x[lane] for name, x in params.items()}
                held = {name: x[lane] for name, x in self.held.items()}
                each = tree_map(_at(lane), batch) if apart else batch
                results.append(call(own, held, *each))
        return tree_map(lambda *parts: torch.stack(parts), *results)

    def _judged(
        self, name: str, output: Any, target: Tensor, function: Function, *, apart: bool
    ) -> Tensor:
        with self._context():
            if name not in self._single:
                try:
                    dims = (0, 0 if apart else None)
                    return torch.vmap(function, in_dims=dims)(output, target)
                except Exception:  # it asks for a number, or branches on one: lane by lane then
                    self._single.add(name)
            values = [
                function(tree_map(_at(lane), output), target[lane] if apart else target)
                for lane in range(self.lanes)
            ]
        return torch.stack([torch.as_tensor(value) for value in values])

    def _rest(self, model: nn.Module) -> dict[str, Tensor]:
        frozen = {n: p.detach() for n, p in model.named_parameters() if n in self._untrained}
        return {**frozen, **dict(model.named_buffers())}


def _at(lane: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x[lane]
