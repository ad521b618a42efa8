"""Matrix factorisation with embeddings and biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sweeps import Task

USERS = 900
ITEMS = 1600


class MatrixFactorization(nn.Module):
    def __init__(self, n_factors: int) -> None:
        super().__init__()
        self.user_factors = nn.Embedding(USERS, n_factors)
        self.item_factors = nn.Embedding(ITEMS, n_factors)
        self.user_biases = nn.Embedding(USERS, 1)
        self.item_biases = nn.Embedding(ITEMS, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        product = (self.user_factors(user) * self.item_factors(item)).sum(dim=1)
        return product + self.user_biases(user).squeeze(1) + self.item_biases(item).squeeze(1)


class Ratings(Dataset):
    """(user, item, rating), the ratings being those of factors of rank 4 and noise."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(0)
        users = torch.randn(USERS, 4, generator=generator)
        items = torch.randn(ITEMS, 4, generator=generator)
        generator.manual_seed(seed)
        self.user = torch.randint(USERS, (count,), generator=generator)
        self.item = torch.randint(ITEMS, (count,), generator=generator)
        noise = 0.1 * torch.randn(count, generator=generator)
        self.rating = (users[self.user] * items[self.item]).sum(1) + noise

    def __len__(self) -> int:
        return len(self.rating)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.user[index], self.item[index], self.rating[index]


def matrix_factorisation() -> Task:
    """Factors of rank 32 of 900 users and 1,600 items; a loader of large batches."""
    return Task(
        model=lambda: MatrixFactorization(32),
        train=DataLoader(Ratings(16_384, 1), batch_size=1024, shuffle=True),
        valid=DataLoader(Ratings(4096, 2), batch_size=1024),
        loss=nn.MSELoss(),
        epochs=30,
        batch_size=1024,
    )
