"""Handwritten digits: a perceptron, LeNet-5, an autoencoder and a vision transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sweeps import Task
from sweeps.tasks.scikit_learn import classification


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(
            nn.Linear(28 * 28, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.flatten(x))


def mlp() -> Task:
    """A perceptron on digits of 28 x 28; a loader whose last batch is smaller."""
    splits = digits(28)
    return Task(
        model=MLP,
        train=DataLoader(TensorDataset(*splits["train"]), batch_size=64, shuffle=True),
        valid=DataLoader(TensorDataset(*splits["valid"]), batch_size=64),
        loss=nn.CrossEntropyLoss(),
        epochs=20,
        batch_size=64,
    )


class LeNet(nn.Module):
    """Source: LeCun et al. 1998, with ReLU and maxima as in today's tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 16 * 5 * 5)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def lenet() -> Task:
    """LeNet-5 on digits of 32 x 32; a loader that drops the last batch."""
    splits = digits(32)
    return Task(
        model=LeNet,
        train=DataLoader(
            TensorDataset(*splits["train"]), batch_size=32, shuffle=True, drop_last=True
        ),
        valid=DataLoader(TensorDataset(*splits["valid"]), batch_size=128),
        loss=F.cross_entropy,
        epochs=4,
        batch_size=32,
    )


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 8)
        )
        self.decoder = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 28 * 28)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class Pairs(Dataset):
    """Each picture is its own target."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures.flatten(1)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = self.pictures[index]
        return picture, picture


def autoencoder() -> Task:
    """Digits of 28 x 28 through a bottleneck of 8 numbers; a dataset of pairs."""
    splits = digits(28)
    return Task(
        model=Autoencoder,
        train=Pairs(splits["train"][0]),
        valid=Pairs(splits["valid"][0]),
        loss=nn.MSELoss(),
        epochs=20,
        batch_size=64,
    )


class ViT(nn.Module):
    """Source: Dosovitskiy et al. 2021; torch's own encoder."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        patches = (size // patch) ** 2
        self.patches = nn.Conv2d(1, width, kernel_size=patch, stride=patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, patches + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            dim_feedforward=2 * width,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.encoder(x + self.positions)
        return self.head(self.norm(x[:, 0]))


def vit() -> Task:
    """A small vision transformer on digits of 16 x 16, with dropout; tensors."""
    splits = digits(16)
    return Task(
        model=lambda: ViT(size=16, patch=4, width=48, depth=2, heads=4),
        train=splits["train"],
        valid=splits["valid"],
        loss=nn.CrossEntropyLoss(label_smoothing=0.1),
        epochs=2,
        batch_size=32,
    )


def digits(size: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the splits of scikit-learn's digits, scaled up to [N, 1, size, size]."""
    found = {}
    for name, (x, y) in classification("digits").items():
        pictures = x.view(-1, 1, 8, 8)
        found[name] = (F.interpolate(pictures, size=(size, size), mode="bilinear"), y)
    return found
