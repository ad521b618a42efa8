"""Each lane's clipping against torch's of that lane alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from optimizers.clipping import clip_by_norm, clip_by_value

INF, NAN = float("inf"), float("nan")


def gradients(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 24, generator=generator, dtype=torch.float64).to(dtype)


def as_weights(row: Tensor) -> list[torch.nn.Parameter]:
    """One lane's gradient as those of three weights."""
    weights = []
    for part in row.clone().split([12, 8, 4]):
        weights.append(torch.nn.Parameter(torch.zeros_like(part)))
        weights[-1].grad = part.clone()
    return weights


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_by_norm(dtype: torch.dtype) -> None:
    grad = gradients(dtype)
    limits = torch.tensor([0.0, 1e-3, 2.0, 100.0, INF], dtype=torch.float64)
    before = grad.clone()
    clipped = clip_by_norm(grad, limits)
    assert torch.equal(grad, before)
    assert clipped.dtype is dtype
    tolerance = 1e-12 if dtype is torch.float64 else 1e-6
    for row, limit, found in zip(grad, limits.tolist(), clipped, strict=True):
        weights = as_weights(row)
        clip_grad_norm_(weights, limit)
        expected = torch.cat([w.grad for w in weights if w.grad is not None])
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=0.0)
    assert torch.equal(clipped[3:], grad[3:])
    assert clipped[2].norm().item() == pytest.approx(2.0, rel=1e-6)


def test_by_value() -> None:
    grad = gradients()
    limits = torch.tensor([0.0, 0.1, 0.5, 100.0, INF], dtype=torch.float64)
    before = grad.clone()
    clipped = clip_by_value(grad, limits)
    assert torch.equal(grad, before)
    for row, limit, found in zip(grad, limits.tolist(), clipped, strict=True):
        weights = as_weights(row)
        clip_grad_value_(weights, limit)
        assert torch.equal(found, torch.cat([w.grad for w in weights if w.grad is not None]))
    assert torch.equal(clipped[3:], grad[3:])


def test_a_lane_that_is_not_finite_stays_alone() -> None:
    grad = gradients()
    limits = torch.full((5,), 0.5, dtype=torch.float64)
    sound = [clip(grad, limits) for clip in (clip_by_norm, clip_by_value)]
    grad[1, 3], grad[2, 7] = NAN, INF
    by_norm, by_value = clip_by_norm(grad, limits), clip_by_value(grad, limits)
    for clipped, expected in zip((by_norm, by_value), sound, strict=True):
        assert torch.equal(clipped[[0, 3, 4]], expected[[0, 3, 4]])
    assert by_norm[1].isnan().all()
    assert by_norm[2].isnan().tolist() == [i == 7 for i in range(24)]
    assert by_value[1].isnan().tolist() == [i == 3 for i in range(24)]
    assert by_value[2, 7] == 0.5


def test_no_limit_changes_no_number() -> None:
    grad = gradients()
    grad[0, 0], grad[1, 0] = INF, NAN
    limits = torch.full((5,), INF, dtype=torch.float64)
    for clip in (clip_by_norm, clip_by_value):
        torch.testing.assert_close(clip(grad, limits), grad, rtol=0, atol=0, equal_nan=True)
