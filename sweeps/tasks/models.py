"""The built-in tasks' models: small, plain, and without a bias in front of a norm layer.

A bias before a norm is subtracted again by it: its true gradient is zero and the computed one is
rounding noise, which an optimizer that divides by the gradient's size would amplify.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from studies.errors import UserError


def mlp(
    inputs: int, hidden: int, outputs: int, *, depth: int, activation: type[nn.Module]
) -> nn.Module:
    """A fully connected network `[B, inputs] -> [B, outputs]` with `depth` hidden layers."""
    layers: list[nn.Module] = []
    width = inputs
    for _ in range(depth):
        layers += [nn.Linear(width, hidden), activation()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class SmallCNN(nn.Module):
    """Two convolutions with BatchNorm: `[B, 1, side, side] -> [B, 10]` logits."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, channels),
            nn.MaxPool2d(2),
            *_convolution(channels, 2 * channels),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * channels * (side // 4) ** 2, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class ResNet(nn.Module):
    """A residual network for small images, `[B, 3, H, W] -> [B, 10]` logits.

    Three stages of (depth - 2) / 6 blocks of two convolutions each; a stage has half the last one's
    height and width and twice its channels, of which the first has `width`. Shortcuts have no
    weights (option A).

    Source: He et al. 2015 (arXiv:1512.03385), section 4.2; torch's initial weights.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        check_depth(depth)
        layers: list[nn.Module] = _convolution(3, width)
        channels = width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                outputs = width * 2**stage
                layers.append(_Residual(channels, outputs, 2 if stage and block == 0 else 1))
                channels = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean(dim=(-2, -1)))
        return logits


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more = stride, outputs - inputs
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, stride), *_convolution(outputs, outputs)[:-1]
        )

    def forward(self, x: Tensor) -> Tensor:
        same = x[..., :: self.stride, :: self.stride]
        return F.relu(F.pad(same, (0, 0, 0, 0, 0, self.more)) + self.body(x))


def check_depth(depth: int) -> None:
    """Refuse a depth that `ResNet` cannot have.

    Raises:
        UserError: it is not 8, 14, 20, ...
    """
    if depth < 8 or depth % 6 != 2:
        raise UserError(f"depth is {depth}; a ResNet for small images has 8, 14, 20, ... layers")


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
