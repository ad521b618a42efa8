"""Evaluating an optimizer's own averages, without the user having to know that there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import update_bn

from optimizers.drop_in import RuleOptimizer


@contextmanager
def weights_to_evaluate(
    optimizer: Optimizer, model: nn.Module, batches: Iterable[tuple[tuple[Tensor, ...], Tensor]]
) -> Iterator[None]:
    """Within: `model` has the weights that this optimizer wants judged; afterwards its own again.

    For an average BatchNorm's statistics are those of the training `batches` under it. An optimizer
    of another library that has modes of its own (`eval()` and `train()`) is put into the right one.
    """
    if isinstance(optimizer, RuleOptimizer):
        if not optimizer.rule.averages:
            yield
            return
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        try:
            with optimizer.averaged():
                update_bn(((inputs,) for inputs, _ in batches), _Spread(model))
                model.eval()
                yield
        finally:
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        return
    if not has_modes(optimizer):
        yield
        return
    modes: Any = optimizer
    modes.eval()
    try:
        yield
    finally:
        modes.train()


def has_modes(optimizer: Optimizer) -> bool:
    """Does this optimizer want to be told when weights are evaluated (Schedule-Free packages)?"""
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


class _Spread(nn.Module):
    """The model under a call with one argument, the tuple of its inputs, as `update_bn` makes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            return self.model(*inputs)
