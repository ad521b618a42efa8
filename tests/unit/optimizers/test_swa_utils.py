"""torch's weight averages on our own optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import swa_utils as theirs

from optimizers import SGD, swa_utils


def model() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, 1)).double()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 16, 4, generator=generator, dtype=torch.float64)
    return [(part, part.sum(1, keepdim=True)) for part in x]


def train(
    kind: Callable[..., torch.optim.Optimizer], utils: Any, anneal: int, **average: Any
) -> Any:
    """An average over the second half of a short training, and the learning rates."""
    network, data, rates = model(), batches(), []
    optimizer = kind(network.parameters(), lr=0.1, momentum=0.9)
    averaged = utils.AveragedModel(network, **average)
    for epoch in range(8):
        if epoch == 4:
            scheduler = utils.SWALR(optimizer, swa_lr=0.02, anneal_epochs=anneal)
        for x, y in data:
            optimizer.zero_grad()
            (network(x) - y).square().mean().backward()
            optimizer.step()
        if epoch >= 4:
            averaged.update_parameters(network)
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    utils.update_bn(data, averaged)
    return averaged, rates


@pytest.mark.parametrize("anneal", [0, 3])
@pytest.mark.parametrize(
    "average",
    [
        {},
        {"avg_fn": swa_utils.get_swa_avg_fn()},
        {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()},
        {"avg_fn": swa_utils.get_ema_avg_fn(0.9)},
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    ],
)
def test_an_average_on_our_sgd_is_the_one_on_torchs(anneal: int, average: dict[str, Any]) -> None:
    mine, rates = train(SGD, swa_utils, anneal, **average)
    other, expected = train(torch.optim.SGD, theirs, anneal, **average)
    assert rates == expected
    assert rates[-1] == pytest.approx(0.02)
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-10, atol=1e-12)
    statistics = mine.module[1].running_mean
    assert mine.n_averaged == 4
    assert statistics.abs().sum() > 0


def test_has_every_name_of_torchs() -> None:
    assert set(swa_utils.__all__) == set(theirs.__all__)
