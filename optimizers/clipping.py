"""Gradient clipping, each lane by its own limit."""

from __future__ import annotations

from torch import Tensor


def clip_by_norm(grad: Tensor, limits: Tensor) -> Tensor:
    """Scale each lane of `grad` [K, P] down to the Euclidean norm `limits` [K], where it is longer.

    scale = min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; a limit of inf clips
    nothing. Source: Pascanu et al., arXiv:1211.5063, algorithm 1.
    """
    norms: Tensor = grad.norm(dim=1)
    scale = (limits.to(norms) / (norms + 1e-6)).clamp(max=1)
    scale = scale.where(limits.to(norms).isfinite(), scale.new_ones(()))
    return grad * scale.unsqueeze(-1)


def clip_by_value(grad: Tensor, limits: Tensor) -> Tensor:
    """Bound each number of `grad` [K, P] by -limit and limit [K]; a limit of inf clips nothing."""
    bound = limits.to(grad).unsqueeze(-1)
    return grad.maximum(-bound).minimum(bound)
