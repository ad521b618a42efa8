"""ResNet-20 with augmentation, on pictures made here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sweeps import Task

SIZE = 16
CLASSES = 10


class BasicBlock(nn.Module):
    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """Source: He et al. 2016, section 4.2: three stages of as many blocks."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(width, width, blocks, 1)
        self.layer2 = self._stage(width, 2 * width, blocks, 2)
        self.layer3 = self._stage(2 * width, 4 * width, blocks, 2)
        self.linear = nn.Linear(4 * width, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_planes, planes, stride)
        return nn.Sequential(first, *[BasicBlock(planes, planes) for _ in range(blocks - 1)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.linear(x)


class Pictures(Dataset):
    """Colour pictures of ten classes; to train, each is cropped and flipped at random."""

    def __init__(self, count: int, seed: int, train: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        prototypes = torch.randn(CLASSES, 3, SIZE, SIZE, generator=generator)
        generator.manual_seed(seed)
        self.labels = torch.randint(CLASSES, (count,), generator=generator)
        noise = torch.randn(count, 3, SIZE, SIZE, generator=generator)
        self.images = prototypes[self.labels] + 2 * noise
        self.train = train

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        if self.train:
            padded = F.pad(image, (2, 2, 2, 2))
            top, left = torch.randint(0, 5, (2,)).tolist()
            image = padded[:, top : top + SIZE, left : left + SIZE]
            if torch.rand(1) < 0.5:
                image = image.flip(-1)
        return image, self.labels[index]


def resnet20() -> Task:
    """ResNet-20 of half the width on pictures of 16 x 16, cropped and flipped at random."""
    return Task(
        model=lambda: ResNet(blocks=3, width=8),
        train=DataLoader(Pictures(512, 1, True), batch_size=32, shuffle=True, drop_last=True),
        valid=DataLoader(Pictures(256, 2, False), batch_size=128),
        loss=nn.CrossEntropyLoss(),
        epochs=3,
        batch_size=32,
    )
