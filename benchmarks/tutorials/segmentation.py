"""A U-Net that finds discs in noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sweeps import Task

SIZE = 32


class DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class UNet(nn.Module):
    """Source: Ronneberger et al. 2015, with padding and BatchNorm; two stages down and up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down1 = DoubleConv(1, width)
        self.down2 = DoubleConv(width, 2 * width)
        self.bottom = DoubleConv(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.conv2 = DoubleConv(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.conv1 = DoubleConv(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.bottom(self.pool(second))
        x = self.conv2(torch.cat([second, self.up2(x)], dim=1))
        x = self.conv1(torch.cat([first, self.up1(x)], dim=1))
        return self.out(x)


class Discs(Dataset):
    """Pictures with one bright disc each, and where it is."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        centre = torch.rand(count, 2, 1, 1, generator=generator) * SIZE
        radius = 3 + 6 * torch.rand(count, 1, 1, generator=generator)
        rows, columns = torch.arange(SIZE).view(-1, 1), torch.arange(SIZE)
        distance = ((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2).sqrt()
        self.masks = (distance < radius).float().unsqueeze(1)
        self.images = self.masks + torch.randn(self.masks.shape, generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.masks[index]


def dice(output: Tensor, target: Tensor) -> Tensor:
    """Twice the overlap over the sum of both areas."""
    found = (output > 0).float()
    return 2 * (found * target).sum() / (found.sum() + target.sum() + 1e-6)


def unet() -> Task:
    """A small U-Net on pictures of 32 x 32; a loader, and the Dice score."""
    return Task(
        model=lambda: UNet(8),
        train=DataLoader(Discs(192, 1), batch_size=16, shuffle=True),
        valid=DataLoader(Discs(64, 2), batch_size=16),
        loss=nn.BCEWithLogitsLoss(),
        metrics={"dice": dice},
        epochs=3,
        batch_size=16,
    )
