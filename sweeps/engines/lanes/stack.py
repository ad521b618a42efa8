"""`Stack`: K models of one architecture as one program.

The trained weights of all lanes are one tensor [K, P]; everything else that a model holds (buffers,
weights that are not trained) is stacked [K, *shape]. One forward gives K losses, and one backward
of their sum K gradients: nothing crosses lanes, and one with NaN stays alone.

The model is called once for all lanes, by `torch.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
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
        untrained: frozenset[str],
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model, self._context = model, context
        self._untrained = untrained
        self._places = _places(model)
        self.used: set[int] = set()
        """The lanes that somebody has; what is called lane by lane is called for these only."""
        self.called_by_lane: set[str] = set()
        """Functions that vmap cannot call."""
        self._trained = {n: p for n, p in model.named_parameters() if n not in untrained}
        self.shapes = [tuple(p.shape) for p in self._trained.values()]
        first = next(iter(self._trained.values()))
        size = sum(p.numel() for p in self._trained.values())
        self.flat = first.detach().new_zeros(lanes, size)
        self.held = {name: x.new_zeros(lanes, *x.shape) for name, x in self._rest(model).items()}

    def trained(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the parameters of `model` that a lane of `flat` holds, in its order."""
        params = dict(model.named_parameters())
        return [params[name] for name in self._trained]

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Return the trained weights in a row [P] by their names."""
        parts = cut(row.unsqueeze(0), self.shapes)
        return {name: x[0] for name, x in zip(self._trained, parts, strict=True)}

    @property
    def lanes(self) -> int:
        """K."""
        return self.flat.shape[0]

    @torch.no_grad()
    def put(self, lane: int, model: nn.Module) -> None:
        """Give a lane the weights and buffers of `model`."""
        self.flat[lane] = torch.cat([p.detach().reshape(-1) for p in self.trained(model)])
        for name, x in self._rest(model).items():
            self.held[name][lane] = x

    @torch.no_grad()
    def take(self, lane: int, model: nn.Module) -> None:
        """Give `model` the weights and buffers of a lane."""
        params = dict(model.named_parameters())
        for name, x in self.split(self.flat[lane]).items():
            params[name].copy_(x)
        for name, x in self._rest(model).items():
            x.copy_(self.held[name][lane])

    def gradient(
        self, flat: Tensor, held: Named, inputs: Inputs, target: Tensor, loss: Function
    ) -> tuple[Tensor, Any, Tensor]:
        """Forward and backward in training mode: inputs and target [K, B, ...].

        Returns the gradient [K, P], the outputs [K, B, ...] and the losses [K]; buffers in `held`
        go on in place.
        """

        def call(own: Named, kept: Named, x: Inputs, y: Tensor) -> Any:
            output = self._output(own, kept, x)
            return output, loss(output, y)

        self._model.train()
        leaf = flat.detach().requires_grad_()
        with torch.enable_grad():
            output, losses = self._each(call, leaf, held, inputs, target, apart=True)
            (grad,) = torch.autograd.grad(losses.sum(), leaf)
        return grad, tree_map(lambda x: x.detach(), output), losses.detach()

    def train(self, inputs: Inputs, target: Tensor, loss: Function) -> tuple[Tensor, Any, Tensor]:
        """Return the `gradient` of the present weights, the outputs and the losses."""
        return self.gradient(self.flat, self.held, inputs, target, loss)

    @torch.no_grad()
    def measure(
        self, flat: Tensor, inputs: Inputs, target: Tensor, functions: Mapping[str, Function]
    ) -> dict[str, Tensor]:
        """Evaluate weights [K, P] on one batch that all lanes share; each function's values [K]."""
        self._model.eval()
        output = self._each(self._output, flat, self.held, inputs, apart=False)
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
                self._each(self._output, flat, self.held, inputs, apart=True)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    @property
    def batch_norms(self) -> list[str]:
        """The names of what the model keeps of its batches."""
        return [
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self._model.named_modules()
            if isinstance(module, _BatchNorm)
            for name, _ in module.named_buffers(recurse=False)
        ]

    def _output(self, own: Named, held: Named, x: Inputs) -> Any:
        # Each place once: of a module that has two names, torch puts back the wrong one.
        tensors = {**own, **held}
        placed = {place: tensors[name] for place, name in self._places.items()}
        return functional_call(self._model, placed, x, tie_weights=False)

    def _each(
        self, call: Callable[..., Any], flat: Tensor, held: Named, *batch: Any, apart: bool
    ) -> Any:
        """Return `call` of each lane's weights, buffers and batch, stacked."""
        params = dict(zip(self._trained, cut(flat, self.shapes), strict=True))
        dims = (0, 0, *[0 if apart else None for _ in batch])
        with self._context(), _plain_attention():
            return torch.vmap(call, in_dims=dims, randomness="different")(params, held, *batch)

    def _judged(
        self, name: str, output: Any, target: Tensor, function: Function, *, apart: bool
    ) -> Tensor:
        with self._context():
            if name not in self.called_by_lane:
                try:
                    dims = (0, 0 if apart else None)
                    return torch.vmap(function, in_dims=dims)(output, target)
                except Exception:  # it asks for a number, or branches on one: lane by lane then
                    pass
            values = [torch.full((), torch.nan, device=self.flat.device)] * self.lanes
            for lane in self.used:  # what nobody's lane gives may be refused
                own = tree_map(_at(lane), output), target[lane] if apart else target
                values[lane] = torch.as_tensor(function(*own), device=self.flat.device)
        self.called_by_lane.add(name)
        return torch.stack([value.double() for value in values])

    def _rest(self, model: nn.Module) -> dict[str, Tensor]:
        frozen = {n: p.detach() for n, p in model.named_parameters() if n in self._untrained}
        return {**frozen, **dict(model.named_buffers())}


def _places(model: nn.Module) -> dict[str, str]:
    """Return where each tensor is used: every module's place once -> the tensor's first name."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    names = {id(tensor): name for name, tensor in tensors}
    return {
        f"{prefix}.{attribute}" if prefix else attribute: names[id(tensor)]
        for prefix, module in model.named_modules()
        for attribute, tensor in chain(module._parameters.items(), module._buffers.items())
        if tensor is not None
    }


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Within: attention by those kernels that vmap batches."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _at(lane: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x[lane]
