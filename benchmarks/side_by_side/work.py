"""The work of Optuna's and Ray's scripts: the data, the model and a plain training loop.

The same as `sweep.yaml` says: ranges, split, initial weights' distribution, batch size, metric. It
imports torch and scikit-learn alone, since each contender has an environment of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

BATCH_SIZE = 32
SPLIT_SEED = 20  # of `sweeps.tasks.scikit_learn`
# All log-uniform.
SPACE = {
    "lr": (1e-4, 1e-1),
    "one_minus_beta1": (0.02, 0.5),
    "one_minus_beta2": (1e-4, 0.1),
    "weight_decay": (5e-3, 1.0),
}

Pair = tuple[Tensor, Tensor]


class Digits(NamedTuple):
    """Inputs `[N, 64]` and classes `[N]` of each split."""

    train: Pair
    valid: Pair
    test: Pair


def load() -> Digits:
    """Load the digits, 60 / 20 / 20 by class, scaled by the training examples."""
    images, classes = load_digits(return_X_y=True)
    fifth = round(len(classes) / 5)
    parts = []
    for _ in ("test", "valid"):
        images, taken, classes, own = train_test_split(
            images, classes, test_size=fifth, stratify=classes, random_state=SPLIT_SEED
        )
        parts.append((taken, own))
    scaler = StandardScaler().fit(images)
    test, valid, train = (
        (torch.tensor(scaler.transform(x), dtype=torch.float32), torch.tensor(y))
        for x, y in (*parts, (images, classes))
    )
    return Digits(train, valid, test)


def network() -> nn.Module:
    """Return a fresh MLP 64-64-10."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Training:
    """One trial: a model in training with AdamW."""

    def __init__(
        self,
        data: Digits,
        *,
        lr: float,
        one_minus_beta1: float,
        one_minus_beta2: float,
        weight_decay: float,
    ) -> None:
        self._data = data
        self._model = network()
        betas = (1 - one_minus_beta1, 1 - one_minus_beta2)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True
        )

    def epoch(self) -> float:
        """Train one epoch; return the validation loss after it."""
        x, y = self._data.train
        steps = len(x) // BATCH_SIZE
        self._model.train()
        for index in torch.randperm(len(x))[: steps * BATCH_SIZE].view(steps, BATCH_SIZE):
            self._optimizer.zero_grad()
            F.cross_entropy(self._model(x[index]), y[index]).backward()
            self._optimizer.step()
        self._model.eval()
        x, y = self._data.valid
        with torch.no_grad():
            return F.cross_entropy(self._model(x), y).item()

    def test_accuracy(self) -> float:
        """Return the share of test examples whose class is found."""
        x, y = self._data.test
        self._model.eval()
        with torch.no_grad():
            return (self._model(x).argmax(1) == y).float().mean().item()
