"""Can K copies of a model run as one program? Found by trying it on a real batch.

Two fresh models train one step each, alone and stacked. They are stacked where losses, gradients
and buffers are the same. Where they differ, or where `torch.vmap` refuses, trials of this model
train one by one, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sweeps.engines.lanes.stack import Function, Stack
from sweeps.tasks.data import Batch, seed_everything

Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Fusing:
    """How a model is stacked: `untrained` weights get no gradient; `reason`: why it is not."""

    untrained: frozenset[str]
    reason: str = ""


def try_fusing(
    make: Callable[[], nn.Module], batch: Batch, loss: Function, context: Context
) -> Fusing:
    """Find out how the models of `make` are stacked, on a training batch `[B, ...]`.

    Raises:
        Exception: what the model or the loss raises by itself.
    """
    models = [_seeded(make, seed) for seed in (1, 2)]
    alone = [_alone(model, batch, loss, context) for model in models]
    grads = [grad for _, grad in alone]
    untrained = frozenset(name for name, grad in grads[0].items() if grad is None)
    if len(untrained) == len(grads[0]):
        return Fusing(frozenset(), "no weight gets a gradient")
    fresh = [_seeded(make, seed) for seed in (1, 2)]
    stack = Stack(fresh[0], 2, untrained=untrained, context=context)
    for lane, model in enumerate(fresh):
        stack.put(lane, model)
    inputs, target = batch
    try:
        seed_everything(0)
        stacked, _, losses = stack.train(
            tuple(torch.stack([x, x]) for x in inputs), torch.stack([target, target]), loss
        )
    except Exception as error:  # vmap has many ways to say no
        return Fusing(untrained, f"torch.vmap: {_first_line(error)}")
    close = partial(_close, tolerance=_tolerance(stack.flat, context))
    difference = _difference(stack, fresh, models, alone, stacked, losses, close)
    if difference and not _is_random(make, batch, loss, context):
        return Fusing(untrained, difference)
    return Fusing(untrained)


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    seed_everything(seed)
    return make()


def _alone(
    model: nn.Module, batch: Batch, loss: Function, context: Context
) -> tuple[Tensor, dict[str, Tensor | None]]:
    inputs, target = batch
    seed_everything(0)
    model.train()
    params = dict(model.named_parameters())
    with context():
        value = loss(model(*inputs), target)
    trained = {name: p for name, p in params.items() if p.requires_grad}
    grads = torch.autograd.grad(value, list(trained.values()), allow_unused=True)
    found = dict(zip(trained, grads, strict=True))
    return value.detach(), {name: found.get(name) for name in params}


def _difference(
    stack: Stack,
    fresh: list[nn.Module],
    models: list[nn.Module],
    alone: list[tuple[Tensor, dict[str, Tensor | None]]],
    stacked: Tensor,
    losses: Tensor,
    close: Callable[[Tensor, Tensor], bool],
) -> str:
    for lane, (value, grads) in enumerate(alone):
        if not close(losses[lane], value):
            return "the stacked loss differs from the loss alone"
        own = torch.cat([grad.reshape(-1) for grad in grads.values() if grad is not None])
        if not close(stacked[lane], own):
            return "the stacked gradient differs from the gradient alone"
        stack.take(lane, fresh[lane])
        after = dict(models[lane].named_buffers())
        for name, buffer in fresh[lane].named_buffers():
            if not close(buffer, after[name]):
                return f"the stacked buffer '{name}' differs from the buffer alone"
    return ""


def _is_random(
    make: Callable[[], nn.Module], batch: Batch, loss: Function, context: Context
) -> bool:
    """Does training draw random numbers (dropout), so that losses differ by nature?"""
    device = batch[1].device
    model = _seeded(make, 1)
    seed_everything(0)
    untouched = _random_state(device)
    _alone(model, batch, loss, context)  # seeds with the same number
    return not torch.equal(_random_state(device), untouched)


def _random_state(device: torch.device) -> Tensor:
    """Return the state of the generators that a model on `device` may draw from."""
    state = torch.get_rng_state()
    if device.type != "cuda":
        return state
    return torch.cat([state, torch.cuda.get_rng_state(device)])


def _tolerance(like: Tensor, context: Context) -> float:
    """Return how far rounding may take a number, as a share of the largest beside it."""
    with context():
        if torch.is_autocast_enabled(like.device.type):
            return 5e-2  # bfloat16 has 8 bits
    if like.dtype == torch.float64:
        return 1e-9
    return 1e-2 if like.is_cuda else 1e-3  # cuDNN convolves in TF32, with 11 bits


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    return bool(torch.allclose(a, b.to(a.dtype), rtol=tolerance, atol=tolerance * scale + 1e-12))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
