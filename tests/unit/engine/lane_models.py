"""Small random workloads: a `Net` says which layers, on which data, and makes the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sweeps import Task

EXAMPLES = {"train": 18, "valid": 7, "test": 5}
LAYERS: Mapping[str, tuple[str, ...]] = {
    "vectors": ("linear", "layer_norm", "batch_norm", "residual", "tied"),
    "images": ("conv", "batch_norm", "group_norm", "residual", "pool"),
    "tokens": ("linear", "layer_norm", "attention", "encoder", "residual"),
    "ratings": ("linear", "layer_norm", "batch_norm", "residual"),
}
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}


@dataclass(frozen=True)
class Net:
    """A model and its data.

    `shifts`: it has weights whose gradient is zero by structure, and rounding's in numbers (a bias
    before BatchNorm, an attention's key bias). `frozen`: the first weight is not trained.
    `branching`: it looks at its numbers, so that it is not stacked.
    """

    kind: str
    layers: tuple[str, ...]
    activation: str = "tanh"
    numbers: bool = False  # regression
    data: str = "tensors"
    shifts: bool = False
    frozen: bool = False
    branching: bool = False

    @property
    def delicate(self) -> bool:
        """May gradients be zero by structure?

        BatchNorm after relu takes the scale from a unit that is alive for one example of a batch,
        and the bias from one that is alive for all.
        """
        return self.shifts or ("batch_norm" in self.layers and self.activation == "relu")

    @cache  # noqa: B019  (the same arguments are the same task, as a sweep has it)
    def task(self, width: int = 4) -> Task:
        """Return the task with layers of this width."""
        splits = {name: self._split(seed, n) for seed, (name, n) in enumerate(EXAMPLES.items())}
        train: Any = splits.pop("train")
        if self.data != "tensors":
            train = Noisy(*train) if self.data == "noisy" else TensorDataset(*train)
        if self.data == "loader":
            train = DataLoader(train, 6, shuffle=True, drop_last=True)
        return Task(
            model=lambda: Model(self, width),
            train=train,
            loss=F.mse_loss if self.numbers else F.cross_entropy,
            metrics={"largest": largest, **({} if self.numbers else {"accuracy": accuracy})},
            **splits,
        )

    def _split(self, seed: int, n: int) -> tuple[Tensor, ...]:
        g = torch.Generator().manual_seed(seed)
        inputs: tuple[Tensor, ...] = {
            "vectors": lambda: (torch.randn(n, 5, generator=g),),
            "images": lambda: (torch.randn(n, 1, 4, 4, generator=g),),
            "tokens": lambda: (torch.randint(9, (n, 5), generator=g),),
            "ratings": lambda: tuple(torch.randint(6, (2, n), generator=g)),
        }[self.kind]()
        if self.numbers:
            return *inputs, torch.randn(n, 3, generator=g)
        return *inputs, torch.randint(3, (n,), generator=g)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(dim=1) == target).double().mean()


def largest(output: Tensor, _: Tensor) -> Tensor:
    """A metric of a number, which vmap cannot call."""
    return torch.tensor(float(output.abs().max()), dtype=torch.float64)


class Noisy(TensorDataset):
    """Augmented: each example that is read draws its own noise."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        x, *rest = super().__getitem__(index)
        return x + 0.1 * torch.randn_like(x) if x.is_floating_point() else x, *rest


class Model(nn.Module):
    """Inputs to `width` channels, the layers with the activation after each, their mean, logits."""

    def __init__(self, net: Net, width: int) -> None:
        super().__init__()
        self.net = net
        act = ACTIVATIONS[net.activation]
        self.first = FIRST[net.kind](width)
        self.layers = nn.Sequential(act())
        for name in net.layers:
            self.layers.extend([layer(name, net, width), act()])
        self.last = nn.Linear(width, 3)
        if net.frozen:
            next(self.parameters()).requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        x = self.layers(self.first(*inputs))
        if self.net.branching and x.sum() > 1e300:
            x = -x
        if x.dim() > 2:
            x = x.flatten(2).mean(2) if self.net.kind == "images" else x.mean(1)
        # A fuse: weights that run away are NaN at once, before all is differences of large numbers.
        return self.last(x) + 0 * self.last.bias.square().sum().exp()


def layer(name: str, net: Net, width: int) -> nn.Module:
    """Return a layer that keeps the shape of what it gets."""
    if name == "residual":
        return Residual(plain(net, width))
    if name == "tied":
        one, other = plain(net, width), plain(net, width)
        other.weight = one.weight
        return nn.Sequential(one, nn.Tanh(), other)
    if name == "batch_norm":
        norm = (nn.BatchNorm2d if net.kind == "images" else nn.BatchNorm1d)(width)
        return nn.Sequential(plain(net, width), norm) if net.shifts else norm
    makers: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: plain(net, width),
        "conv": lambda: plain(net, width),
        "layer_norm": lambda: nn.LayerNorm(width),
        "group_norm": lambda: nn.GroupNorm(2, width),
        "pool": lambda: nn.MaxPool2d(3, stride=1, padding=1),
        "attention": lambda: SelfAttention(width, bias=net.shifts),
        "encoder": lambda: nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, batch_first=True, bias=net.shifts
        ),
    }
    return makers[name]()


def plain(net: Net, width: int) -> nn.Module:
    if net.kind == "images":
        return nn.Conv2d(width, width, 3, padding=1)
    return nn.Linear(width, width)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class SelfAttention(nn.MultiheadAttention):
    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__(width, 2, batch_first=True, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


class Tokens(nn.Module):
    """Embeddings of the tokens and of their places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of = nn.Embedding(9, width)
        self.place = nn.Parameter(torch.randn(5, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x) + self.place


class Ratings(nn.Module):
    """The product of two embeddings, as in matrix factorisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(6, width), nn.Embedding(6, width)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.user(user) * self.item(item)


FIRST: Mapping[str, Callable[[int], nn.Module]] = {
    "vectors": lambda width: nn.Linear(5, width),
    "images": lambda width: nn.Conv2d(1, width, 3, padding=1),
    "tokens": Tokens,
    "ratings": Ratings,
}
