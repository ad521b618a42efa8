"""digits-mlp over K lanes at once, for the tests of the textbook's claims: a lane is one run.

All lanes start from the same weights and see the same batches, so that they differ only in what
the test sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from optimizers import RULES, LaneOptimizer
from optimizers.lanes import cut
from optimizers.rule import Rule
from sweeps.tasks import load_factory
from sweeps.tasks.data import Batch, Split, epoch_seed, seed_everything
from sweeps.tasks.opening import open_split
from sweeps.tasks.task import Task


@cache
def task() -> Task:
    """digits-mlp with one hidden layer of 32, a quarter of the task's own size."""
    return load_factory("digits-mlp", Path())(hidden=32, depth=1)


def split(name: str, dtype: torch.dtype = torch.float32) -> Split:
    return open_split(name, getattr(task(), name), torch.device("cpu"), dtype)


def lanes_of(
    rule: str | Sequence[Rule],
    seed: int,
    hypers: Mapping[str, Sequence[float] | Tensor],
    dtype: torch.dtype = torch.float32,
) -> LaneOptimizer:
    """One lane for each value of the hyperparameters, all from the seed's weights."""
    seed_everything(seed)
    params = list(task().model().parameters())
    columns = {n: torch.as_tensor(values, dtype=torch.float64) for n, values in hypers.items()}
    lanes = len(next(iter(columns.values())))
    flat = torch.cat([p.detach().reshape(-1) for p in params]).to(dtype).repeat(lanes, 1)
    chosen = RULES[rule] if isinstance(rule, str) else rule
    return LaneOptimizer(chosen, flat, [p.shape for p in params], columns)


def batches(
    seed: int, epochs: int, batch_size: int = 32, dtype: torch.dtype = torch.float32
) -> Iterator[Batch]:
    data = split("train", dtype)
    for epoch in range(1, epochs + 1):
        yield from data.shuffled(batch_size, epoch_seed(seed, epoch))


def logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """[K, B, 10] of inputs [B, 64]."""
    hidden = torch.baddbmm(params[1].unsqueeze(1), x.expand(len(params[0]), -1, -1), params[0].mT)
    return torch.baddbmm(params[3].unsqueeze(1), hidden.relu(), params[2].mT)


def losses(params: Sequence[Tensor], batch: Batch) -> Tensor:
    """The mean cross-entropy of each lane, [K]."""
    (x,), y = batch
    out = logits(params, x)
    each = F.cross_entropy(out.flatten(0, 1), y.repeat(len(out)), reduction="none")
    return each.view(len(out), -1).mean(1)


def gradients(lanes: LaneOptimizer, batch: Batch) -> Tensor:
    """[K, P]; the sum's gradient, since a lane's loss is of its own weights only."""
    flat = lanes.flat.detach().requires_grad_()
    (grad,) = torch.autograd.grad(losses(cut(flat, lanes.shapes), batch).sum(), flat)
    return grad


def train(lanes: LaneOptimizer, data: Iterator[Batch]) -> LaneOptimizer:
    for batch in data:
        lanes.step(gradients(lanes, batch))
    return lanes


def judged(lanes: LaneOptimizer, name: str = "valid") -> Tensor:
    """The loss of each lane on a whole split, [K]; a run that diverged has NaN."""
    with torch.no_grad():
        parts = [losses(lanes.params, part) * len(part[1]) for part in _whole(name, lanes)]
    return torch.stack(parts).sum(0) / sum(len(y) for _, y in _whole(name, lanes))


def _whole(name: str, lanes: LaneOptimizer) -> Iterator[Batch]:
    return split(name, lanes.flat.dtype).ordered()
