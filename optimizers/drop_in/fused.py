"""torch's own fused kernels, for the algorithms that have one: one call for a list of weights.

The rule stays the definition; the parity tests hold the kernels to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from optimizers.rule import Rule
from optimizers.rules.adagrad import AdagradRule
from optimizers.rules.adam import AdamRule
from optimizers.rules.sgd import SgdRule

Kernel = Callable[
    [Any, list[Tensor], list[Tensor], Sequence[Mapping[str, Any]], Mapping[str, float], int, bool],
    None,
]
_DEVICES = ("cpu", "cuda")


def fused_kernel(rule: Rule) -> Kernel | None:
    """The kernel of this very algorithm, None where torch has none."""
    if rule.by_weight or rule.decay == "independent":
        return None
    return _KERNELS.get(type(rule))


def kernel_takes(params: Sequence[Tensor], columns: Sequence[Sequence[Tensor]]) -> bool:
    """Are all weights of one real dtype, on one device with kernels, and their state like them?"""
    first = params[0]
    return (
        first.dtype in (torch.float32, torch.float64)
        and first.device.type in _DEVICES
        and all(p.dtype is first.dtype and p.device == first.device for p in params)
        and all(
            x.shape == p.shape and x.dtype is p.dtype and x.device == p.device
            for column in columns
            for p, x in zip(params, column, strict=True)
        )
        and all(x.is_contiguous() for column in columns for x in column)
    )


def _left_to_the_kernel(
    rule: Rule, params: list[Tensor], h: Mapping[str, float], lr: float
) -> float:
    """L2 decay, which the kernel knows; the decoupled one it does not know is done here."""
    if rule.decay == "l2":
        return h["weight_decay"]
    if h["weight_decay"]:
        torch._foreach_mul_(params, rule.decay_scalars(h, lr)["keep"])
    return 0.0


def _adam(
    rule: AdamRule,
    params: list[Tensor],
    grads: list[Tensor],
    states: Sequence[Mapping[str, Any]],
    h: Mapping[str, float],
    t: int,
    maximize: bool,
) -> None:
    kernel = torch._fused_adam_ if rule.decay == "l2" else torch._fused_adamw_
    step = torch.tensor(float(t), device=params[0].device)
    largest = list(map(itemgetter("max_exp_avg_sq"), states)) if rule.amsgrad else []
    kernel(
        params,
        grads,
        list(map(itemgetter("exp_avg"), states)),
        list(map(itemgetter("exp_avg_sq"), states)),
        largest,
        [step] * len(params),
        lr=h["lr"],
        beta1=h["beta1"],
        beta2=h["beta2"],
        weight_decay=h["weight_decay"],
        eps=h["eps"],
        amsgrad=rule.amsgrad,
        maximize=maximize,
    )


def _sgd(
    rule: SgdRule,
    params: list[Tensor],
    grads: list[Tensor],
    states: Sequence[Mapping[str, Any]],
    h: Mapping[str, float],
    t: int,
    maximize: bool,
) -> None:
    weight_decay = _left_to_the_kernel(rule, params, h, h["lr"])
    moving = h["momentum"] != 0
    torch._fused_sgd_(
        params,
        grads,
        list(map(itemgetter("momentum_buffer"), states)) if moving else [],
        weight_decay=weight_decay,
        momentum=h["momentum"],
        lr=h["lr"],
        dampening=h["dampening"],
        nesterov=rule.nesterov,
        maximize=maximize,
        is_first_step=moving and t == 1,
    )


def _adagrad(
    rule: AdagradRule,
    params: list[Tensor],
    grads: list[Tensor],
    states: Sequence[Mapping[str, Any]],
    h: Mapping[str, float],
    t: int,
    maximize: bool,
) -> None:
    sums = list(map(itemgetter("sum"), states))
    if t == 1 and h["initial_accumulator_value"]:
        torch._foreach_add_(sums, h["initial_accumulator_value"])
    weight_decay = _left_to_the_kernel(rule, params, h, rule.rate(h, t))
    step = torch.tensor(float(t), device=params[0].device)
    torch._fused_adagrad_(
        params,
        grads,
        sums,
        [step] * len(params),
        lr=h["lr"],
        lr_decay=h["lr_decay"],
        weight_decay=weight_decay,
        eps=h["eps"],
        maximize=maximize,
    )


_KERNELS: Mapping[type[Rule], Kernel] = {
    AdagradRule: _adagrad,
    AdamRule: _adam,
    SgdRule: _sgd,
}
