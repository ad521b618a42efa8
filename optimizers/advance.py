"""One update of a rule over the pieces of a lane's (or of K lanes') weights; both drivers call it.

A piece is (parameter, gradient, state): the whole flat buffer, a bucket of small weights, a slice
of a large one, or one weight by itself. `fit` makes the coefficients fit a piece: floats, or [K] as
[K, 1, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from optimizers.rule import Rule

Piece = tuple[Tensor, Tensor, Mapping[str, Tensor]]
Fit = Callable[[Mapping[str, Any], Tensor], Mapping[str, Any]]
Stepped = tuple[Tensor, dict[str, Tensor]]


def advance(
    rule: Rule, pieces: Iterable[Piece], h: Mapping[str, Any], t: Any, fit: Fit
) -> tuple[Iterator[Stepped], dict[str, Any]]:
    """Return (new parameter, new state) of each piece, one after the other, and new lane buffers.

    `h`: hyperparameters, `lr_factor` and the lane buffers; `t`: the update's number, from 1. A
    piece is read when its turn comes, so that it may be put away while it is still in the cache.
    """
    c = rule.scalars(h, t)
    if rule.measures:
        return _measured(rule, pieces, h, t, c, fit)
    return _stepped(rule, pieces, c, fit), {name: c[name] for name in rule.lane_buffers}


def _stepped(
    rule: Rule, pieces: Iterable[Piece], c: Mapping[str, Any], fit: Fit
) -> Iterator[Stepped]:
    for p, g, s in pieces:
        own = fit(c, p)
        yield rule.stepped(p, rule.gradient(p, g, own), s, own)


def _measured(
    rule: Rule,
    pieces: Iterable[Piece],
    h: Mapping[str, Any],
    t: Any,
    c: dict[str, Any],
    fit: Fit,
) -> tuple[Iterator[Stepped], dict[str, Any]]:
    """All pieces are measured before the first is stepped."""
    seen, sums = [], []
    for p, g, s in pieces:
        own = fit(c, p)
        g = rule.gradient(p, g, own)
        new, part = rule.measure(p, g, s, own)
        seen.append((p, g, {**s, **new}))
        sums.append(part)
    total = {
        name: torch.stack([part[name].to(t.device) for part in sums]).sum(0) for name in sums[0]
    }
    tuned = {**c, **rule.tune(h, t, total)}
    stepped = (rule.stepped(p, g, s, fit(tuned, p)) for p, g, s in seen)
    return stepped, {name: tuned[name] for name in rule.lane_buffers}
