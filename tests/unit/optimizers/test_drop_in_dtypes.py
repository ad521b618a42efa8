"""The drop-ins on complex, 0-d and low-precision weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from programs import each_class, noise, weights

from optimizers.drop_in import RuleOptimizer

STEPS = 9


@each_class
@pytest.mark.parametrize("shape", [(), (3,), (3, 2)], ids=str)
def test_complex_weights_are_pairs_of_real_ones(
    cls: type[RuleOptimizer], shape: tuple[int, ...]
) -> None:
    """Of the weight's own shape, by which centralization and matrices go."""
    start = torch.ones(shape, dtype=torch.complex128) * (1 - 0.5j)
    (paired,), parts = weights(start), weights(start.real.clone(), start.imag.clone())
    mine, twin = cls([paired], lr=0.05), cls(parts, lr=0.05)
    for step in range(STEPS):
        for part in parts:
            part.grad = noise(part, step)
        paired.grad = torch.complex(*(part.grad for part in parts))
        mine.step()
        twin.step()
    torch.testing.assert_close(paired.detach(), torch.complex(*parts), rtol=1e-14, atol=0)
    assert not torch.equal(paired, start)


@each_class
def test_a_number_is_a_vector_of_one(cls: type[RuleOptimizer]) -> None:
    (number,), (vector,) = weights(torch.tensor(2.0)), weights(torch.tensor([2.0]))
    mine, twin = cls([number], lr=0.05), cls([vector], lr=0.05)
    for step in range(STEPS):
        vector.grad = noise(vector, step)
        number.grad = vector.grad[0]
        mine.step()
        twin.step()
    assert number.item() == vector.item() != 2.0


def stepped_alike(low: torch.nn.Parameter, full: torch.nn.Parameter, *both: Any) -> None:
    """One step of each from the weights of `low`, which are in few bits."""
    full.data.copy_(low)
    low.grad = noise(low, 1)
    full.grad = low.grad.float()
    for optimizer in both:
        optimizer.step()
    assert torch.equal(low, full.to(low.dtype))


@each_class
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_have_a_state_in_float32(
    cls: type[RuleOptimizer], dtype: torch.dtype
) -> None:
    """Each step is float32's, rounded at the end, from a loaded state too."""
    (low,), (full,) = weights(torch.ones(3, 2, dtype=dtype)), weights(torch.ones(3, 2))
    mine, twin = cls([low], lr=0.05), cls([full], lr=0.05)
    for _ in range(STEPS):
        stepped_alike(low, full, mine, twin)
    saved = copy.deepcopy(mine.state_dict())
    mine = cls([low], lr=0.5)
    mine.load_state_dict(saved)
    for _ in range(STEPS):
        stepped_alike(low, full, mine, twin)
    tensors = [value for value in mine.state[low].values() if isinstance(value, torch.Tensor)]
    assert all(tensor.dtype == torch.float32 for tensor in tensors)
    assert len(tensors) == len(cls.rule.buffers)
    assert mine.state[low]["step"] == 2 * STEPS


def test_a_low_precision_state_of_torchs_becomes_float32() -> None:
    (low,) = weights(torch.ones(3, dtype=torch.bfloat16))
    low.grad = noise(low, 1)
    theirs = torch.optim.Adam([low])
    theirs.step()
    from optimizers import Adam

    ours = Adam([low])
    ours.load_state_dict(theirs.state_dict())
    assert ours.state[low]["exp_avg"].dtype == torch.float32
    assert torch.equal(ours.state[low]["exp_avg"], theirs.state[low]["exp_avg"].float())
    ours.step()
    assert ours.state[low]["step"] == 2
