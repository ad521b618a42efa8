"""Can K copies of a model run as one program? Found by trying it on a real batch.

Two fresh models train one step each, alone and stacked. They are stacked where losses, gradients
and buffers are the same. Where they differ, or where `torch.vmap` refuses, trials of this model
train one by one, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweeps.engines.lanes.saying import in_a_line
from sweeps.engines.lanes.stack import Function, Stack
from sweeps.tasks.data import Batch, seed_everything
from sweeps.tasks.randomness import Randomness

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

    Numbers in bfloat16 tell nothing, since stacked ones round otherwise: what trains in autocast is
    compared without it, and in it is only to run.

    Raises:
        Exception: what the model or the loss raises by itself.
    """
    with context():
        low = torch.is_autocast_enabled(batch[1].device.type)
    if not low:
        return _compared(make, batch, loss, context)
    _alone(_seeded(make, 1), batch, loss, context)
    try:
        found = _compared(make, batch, loss, nullcontext)
        if not found.reason:
            _stacked([make(), make()], found.untrained, batch, loss, context)
    except Exception as error:  # a type that is not that of its weights
        return Fusing(frozenset(), f"autocast: {in_a_line(error)}")
    return found


def _compared(
    make: Callable[[], nn.Module], batch: Batch, loss: Function, context: Context
) -> Fusing:
    models = [_seeded(make, seed) for seed in (1, 2)]
    if reason := _moves(_seeded(make, 1), batch, loss, context):
        return Fusing(frozenset(), reason)
    alone = [_alone(model, batch, loss, context) for model in models]
    grads = [grad for _, grad in alone]
    untrained = frozenset(name for name, grad in grads[0].items() if grad is None)
    if len(untrained) == len(grads[0]):
        return Fusing(frozenset(), "no weight gets a gradient")
    fresh = [_seeded(make, seed) for seed in (1, 2)]
    try:
        stack, stacked, losses = _stacked(fresh, untrained, batch, loss, context)
    except Exception as error:  # vmap has many ways to say no
        return Fusing(untrained, f"torch.vmap: {in_a_line(error)}")
    difference = _difference(stack, fresh, models, alone, stacked, losses)
    if difference and not _is_random(make, batch, loss, context):
        return Fusing(untrained, difference)
    return Fusing(untrained)


def _stacked(
    models: list[nn.Module],
    untrained: frozenset[str],
    batch: Batch,
    loss: Function,
    context: Context,
) -> tuple[Stack, Tensor, Tensor]:
    """Train stacked models one step; their gradients [K, P] and losses [K]."""
    stack = Stack(models[0], len(models), untrained=untrained, context=context)
    for lane, model in enumerate(models):
        stack.put(lane, model)
    inputs, target = batch
    seed_everything(0)
    grads, _, losses = stack.train(
        tuple(torch.stack([x] * len(models)) for x in inputs),
        torch.stack([target] * len(models)),
        loss,
    )
    return stack, grads, losses


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
) -> str:
    for lane, (value, grads) in enumerate(alone):
        if not _close(losses[lane], value):
            return "the stacked loss differs from the loss alone"
        own = torch.cat([grad.reshape(-1) for grad in grads.values() if grad is not None])
        if not _close(stacked[lane], own):
            return "the stacked gradient differs from the gradient alone"
        stack.take(lane, fresh[lane])
        after = dict(models[lane].named_buffers())
        for name, buffer in fresh[lane].named_buffers():
            if not _close(buffer, after[name]):
                return f"the stacked buffer '{name}' differs from the buffer alone"
    return ""


def _moves(model: nn.Module, batch: Batch, loss: Function, context: Context) -> str:
    """Say what a step changes beside tensors: one step of all lanes would change it once."""
    model.train()
    before = _attributes(model)
    _alone(model, batch, loss, context)
    now = Randomness.now()
    for name, value in _attributes(model).items():
        if name not in before or before[name] != value:
            return f"training changes the model's own '{name}'"
    seed_everything(0)  # as before the step
    if not now.same_beside_torch(Randomness.now()):
        return "training draws random numbers of Python or NumPy"
    return ""


def _attributes(model: nn.Module) -> dict[str, object]:
    """Return the numbers, texts and truths that the modules hold."""
    return {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str | None)
    }


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


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    single = 1e-2 if a.is_cuda else 1e-3  # cuDNN convolves in TF32, with 11 bits
    tolerance = 1e-9 if a.dtype == torch.float64 else single
    return bool(torch.allclose(a, b.to(a.dtype), rtol=tolerance, atol=tolerance * scale + 1e-12))
