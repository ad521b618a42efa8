"""The textbook's claims about whole trainings, as tests on digits-mlp and on quadratics.

Every margin was chosen after measuring the seeds that the docstrings name.
"""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from lane_mlp import batches, gradients, judged, lanes_of, split, train
from torch import Tensor, nn

from optimizers import RULES, SGD, LaneOptimizer
from optimizers.weight_average import WeightAverage
from sweeps.tasks.data import epoch_seed, seed_everything

F64 = torch.float64
SEEDS = (0, 1, 2)
each_seed = pytest.mark.parametrize("seed", SEEDS)

CELLS = 7
DECAY_FROM = {"adam": -4.5, "adamw": -2.5}


@cache
def basins(seed: int) -> Tensor:
    """The log of the validation loss of Adam and of AdamW over lr and weight decay, [2, 7, 7].

    30 epochs (the task's own) of batches of 32, the rate falling by the cosine to 0. lr from 1e-2
    to 10^-0.5 in steps of a quarter of a decade: the best is 1e-2 to 10^-1.5 for Adam, 10^-1.25 to
    1e-1 for AdamW. The decay in steps of half a decade, three decades about each one's best. A loss
    above that of guessing, or NaN, counts as that of guessing.
    """
    rates, decays = [], []
    for start in DECAY_FROM.values():
        lr = torch.logspace(-2, -0.5, CELLS, dtype=F64)
        decay = torch.logspace(start, start + 3, CELLS, dtype=F64)
        rates.append(lr.repeat_interleave(CELLS))
        decays.append(decay.repeat(CELLS))
    rules = [RULES[name] for name in DECAY_FROM for _ in range(CELLS**2)]
    hypers = {"lr": torch.cat(rates), "weight_decay": torch.cat(decays)}
    lanes = lanes_of(rules, seed, hypers)
    total = 30 * split("train").steps(32)
    for t, batch in enumerate(batches(seed, 30)):
        cosine = (1 + math.cos(math.pi * t / total)) / 2
        lanes.step(gradients(lanes, batch), torch.full_like(lanes.steps, cosine))
    guessing = math.log(10)
    loss = judged(lanes).nan_to_num(guessing).clamp(max=guessing)
    return loss.double().log().view(2, CELLS, CELLS)


def cost_of_a_foreign_decay(basin: Tensor) -> float:
    """How much log loss it costs to tune the decay at another rate of the grid than the one used.

    The mean over all pairs of rates (used, tuned at) of loss(used, best decay at the other) less
    the loss with the best decay at `used`: 0 where the best decay is the same at every rate.
    """
    best = basin.argmin(dim=1)
    excess = basin[:, best] - basin.amin(dim=1, keepdim=True)
    return float(excess.sum()) / (CELLS * (CELLS - 1))


@each_seed
def test_adamws_basin_is_more_separable_than_adams(seed: int) -> None:
    """A decay tuned at one rate serves at another with AdamW, not with Adam.

    The claim of Loshchilov & Hutter, arXiv:1711.05101, figure 2: with decoupled decay the best
    decay does not hang on the rate, so that either may be tuned with the other left alone. It is
    measured as just that. Found on seeds 0 to 7: 0.46 to 0.67 for Adam, 0.00 to 0.13 for AdamW (20
    epochs: 0.47 to 0.68 and 0.00 to 0.08). Adam's best decay grows tenfold over the grid's rates,
    AdamW's stays or falls by half a decade.

    Limits. It shows from the best rate upwards: over 10^-2.5 to 1e-1 it is 0.11 and 0.07 (seeds 0
    to 2), as little decay is needed at any low rate. At a constant rate it does not show, for the
    noise of high rates hides the decay's effect (30 epochs, seeds 0 and 1: Adam 0.71 and 0.71,
    AdamW 0.68 and 0.33). It is of torch's AdamW, whose decay is multiplied by lr; without that
    ("independent") the cost is 0.40 to 0.55.

    Shares of the grid's variance do not tell: the best rank-1 table (the grand mean removed) has
    0.78-0.84 of it for Adam and 0.75-0.80 for AdamW, the additive one 0.67-0.71 for both. Nor do
    they on windows centred on each one's best cell (8 seeds; decay in half / quarter decades): 0.75
    / 0.89 for Adam, 0.72 / 0.85 for AdamW, which is the larger on 3 / 1 seeds; with the first 300
    examples 0.75 / 0.82 and 0.78 / 0.83, the larger on 6 / 5. See docs/decisions/0007.
    """
    adam, adamw = (cost_of_a_foreign_decay(basin) for basin in basins(seed))
    assert adam > 0.25
    assert adamw < adam / 2


@each_seed
def test_decoupled_decay_serves_adam_better(seed: int) -> None:
    """The log loss with each rate's best decay, over the rates: lower by 0.05 to 0.20 (8 seeds).

    At the best rate of all the two are closer: AdamW's is the lower of the two on 7 seeds of 8.
    """
    adam, adamw = (float(basin.amin(dim=1).mean()) for basin in basins(seed))
    assert adamw < adam - 0.025


@each_seed
def test_momentum_speeds_up_an_ill_conditioned_quadratic(seed: int) -> None:
    """Each at the best lr of 21, the condition number 1,000, after 100 updates.

    Found on seeds 0 to 2: the loss falls to 9e-4 to 4e-3 of its first value without momentum, to
    1.3e-5 to 2.1e-5 with 0.9, which is 53 to 288 times as low. 300 updates: 1e10 times.
    """
    curvature = torch.logspace(-3, 0, 50, dtype=F64)
    start = torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=F64)
    lr = torch.logspace(-4, 1, 21, dtype=F64)
    best = []
    for momentum in (0.0, 0.9):
        hypers = {"lr": lr, "momentum": torch.full_like(lr, momentum)}
        lanes = LaneOptimizer(RULES["sgd"], start.repeat(21, 1), [(50,)], hypers)
        for _ in range(100):
            lanes.step(lanes.flat * curvature)
        loss = (lanes.flat.square() * curvature).sum(dim=1).nan_to_num(math.inf)
        best.append(loss.min() / (start.square() * curvature).sum())
    assert best[1] < best[0] / 10


def best_over_epochs(rule: str, seed: int, **hypers: list[float]) -> Tensor:
    """The lowest validation loss of each lane after any of 20 epochs, in batches of 128."""
    lanes, losses = lanes_of(rule, seed, hypers), []
    for epoch in range(1, 21):
        train(lanes, split("train").shuffled(128, epoch_seed(seed, epoch)))
        losses.append(judged(lanes))
    return torch.stack(losses).amin(dim=0)


@each_seed
def test_yellowfin_comes_near_the_best_sgd_without_a_rate_set_by_hand(seed: int) -> None:
    """With its defaults against five rates of SGD with momentum 0.9, each at its best epoch.

    Found on seeds 0 to 7: 0.83 to 0.99 times the loss at the best of the rates, which is 0.1; at
    the worst SGD's is 7 to 9 times its best. Limits: batches of 32 have 1.16 to 1.37 times the best
    loss, and training on after the best epoch ruins it (0.4 to 0.7 after 12 epochs): the rate found
    is one over the squared gradient, which vanishes as the net learns the examples by heart.
    """
    rates = [0.003, 0.01, 0.03, 0.1, 0.3]
    tuned = best_over_epochs("sgd", seed, lr=rates, momentum=[0.9] * len(rates))
    yellowfin = best_over_epochs("yellowfin", seed, lr=[RULES["yellowfin"].hypers["lr"].default])
    assert yellowfin < 1.25 * tuned.min()
    assert tuned.max() > 3 * tuned.min()


def normed_net() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (64, 32):
        layers += [nn.Linear(inputs, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def validation_loss(model: nn.Module) -> float:
    (x,), y = next(split("valid").ordered())
    model.eval()
    with torch.no_grad():
        loss = F.cross_entropy(model(x), y).item()
    model.train()
    return loss


def averaged_run(seed: int) -> tuple[float, float, float]:
    """Validation losses: raw (the mean of nine epochs), averaged without the BatchNorm update, and
    averaged with it."""
    seed_everything(seed)
    model, data = normed_net(), split("train")
    optimizer = SGD(model.parameters(), lr=0.5, momentum=0.9)
    average = WeightAverage(model, "swa", total_steps=12 * data.steps(32), start=0.25)
    raw = []
    for epoch in range(1, 13):
        for (x,), y in data.shuffled(32, epoch_seed(seed, epoch)):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            average.update()
        raw.append(validation_loss(model))
    with average.applied():
        stale = validation_loss(model)
    average.update_bn([x for (x,), _ in data.shuffled(32, epoch_seed(seed, 0))])
    with average.applied():
        updated = validation_loss(model)
    return sum(raw[3:]) / 9, stale, updated


@each_seed
def test_averaged_weights_beat_the_raw_ones_if_batchnorm_is_updated(seed: int) -> None:
    """At a constant rate of 0.5, too high to settle.

    Found on seeds 0 to 7: a validation loss of 0.35 to 0.59 raw and 0.13 to 0.20 averaged, lower by
    a factor of 2.3 to 4.0; with BatchNorm's statistics left as they were in training 0.40 to 1.48,
    worse than raw on 7 seeds of 8 and 2.2 to 10 times the updated one's.
    """
    raw, stale, updated = averaged_run(seed)
    assert updated < raw / 1.5
    assert stale > updated * 1.5
