"""The built-in tasks' models: small, plain, and without a bias in front of a norm layer.

A bias before a norm is subtracted again by it: its true gradient is zero and the computed one is
rounding noise, which an optimizer that divides by the gradient's size would amplify.
"""

from __future__ import annotations

from torch import Tensor, nn


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


class DigitsCNN(nn.Module):
    """Two convolutions with BatchNorm over 8 x 8 images: `[B, 1, 8, 8] -> [B, 10]` logits."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, channels),
            nn.MaxPool2d(2),
            *_convolution(channels, 2 * channels),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * channels * 4, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
