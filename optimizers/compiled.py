"""A rule's elementwise body as one kernel, made by `torch.compile`; the eager path is the same.

It needs a C++ compiler (on CUDA: Triton). Where there is none the eager path goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from optimizers.rule import Rule

Body = Callable[[Tensor, Tensor, Mapping[str, Tensor], Mapping[str, Tensor], Tensor | None], None]

# Measured by benchmarks/optimizers.py on one CPU thread: a compiled step saves 0.8 to 1.8 ns a
# number; the first compilation of a process takes 15 s, each further one about 1 s.
_SAVED_SECONDS_A_NUMBER = 1e-9
_COMPILATION_SECONDS = 15.0


def can_compile(rule: Rule) -> bool:
    """Is the rule one elementwise body, of which compilation makes one kernel?"""
    return not (rule.by_weight or rule.measures)


def compilation_pays(rule: Rule, numbers: int, steps: int) -> bool:
    """Will `steps` updates of a buffer of `numbers` (K * P) save more time than compiling takes?"""
    return can_compile(rule) and numbers * steps * _SAVED_SECONDS_A_NUMBER > _COMPILATION_SECONDS


def update_in_place(
    rule: Rule,
    p: Tensor,
    g: Tensor,
    s: Mapping[str, Tensor],
    c: Mapping[str, Tensor],
    active: Tensor | None,
) -> None:
    """One update of parameter and state [k, P], of the rows that are `active` (bool [k, 1])."""
    new, state = rule.stepped(p, rule.gradient(p, g, c), s, c)
    p.copy_(new if active is None else new.where(active, p))
    for buffer, value in state.items():
        s[buffer].copy_(value if active is None else value.where(active, s[buffer]))


@cache
def _compiled(rule: Rule, shape: torch.Size) -> Body:
    def body(*step: Any) -> None:
        update_in_place(rule, *step)

    # torch counts recompilations by code object, and stops at eight: each body has its own
    body.__code__ = body.__code__.replace(co_name=f"{rule.name}_{'x'.join(map(str, shape))}")
    compiled: Body = torch.compile(body, dynamic=False)
    return compiled


_eager: set[Rule] = set()


def step_compiled(
    rule: Rule,
    p: Tensor,
    g: Tensor,
    s: Mapping[str, Tensor],
    c: Mapping[str, Tensor],
    active: Tensor | None,
) -> bool:
    """One update of parameter and state in place, of the rows that are `active` (bool [k]).

    False where it cannot be compiled here.

    Then nothing has changed, a warning says why, and it is not tried again for this rule.
    """
    if rule in _eager:
        return False
    from torch._dynamo.exc import TorchDynamoException  # 0.6 s, which eager lanes do without

    try:
        _compiled(rule, p.shape)(p, g, s, c, None if active is None else active.unsqueeze(-1))
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        text = f"{rule.name} cannot be compiled here and goes on eagerly: {reason}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        _eager.add(rule)
        return False
    return True
