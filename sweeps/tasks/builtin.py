"""The built-in tasks on the real data sets that ship with scikit-learn (no download).

Each split is fixed: the same examples in train, validation and test for every seed and every
user, stratified by class. Scaling is learned on the training examples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sweeps.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

ON_SCIKIT_LEARN = ("digits-cnn", "digits-mlp", "iris-mlp")
_SCIKIT_LEARN = ("sklearn.datasets", "sklearn.model_selection", "sklearn.preprocessing")

SPLIT_SEED = 20  # any fixed number: it names the split


def import_libraries(task: str) -> None:
    """Import what the factory of `task`, built in or not, is known to import (0.7 s)."""
    if task in ON_SCIKIT_LEARN:
        for module in _SCIKIT_LEARN:
            import_module(module)


def iris_mlp(hidden: int = 16, depth: int = 1) -> Task:
    """Fisher's iris: 150 flowers, 4 measurements, 3 species (90 / 30 / 30)."""
    from sklearn.datasets import load_iris

    splits = _classification(load_iris())
    return classifier(_mlp(4, hidden, 3, depth), splits, epochs=60, batch_size=16)


def digits_mlp(hidden: int = 64, depth: int = 2) -> Task:
    """Handwritten digits: 1,797 images of 8 x 8, 10 classes (1,079 / 359 / 359), as vectors."""
    from sklearn.datasets import load_digits

    splits = _classification(load_digits())
    return classifier(_mlp(64, hidden, 10, depth), splits, epochs=30, batch_size=32)


def digits_cnn(channels: int = 16) -> Task:
    """The same digits as images, for a small convolutional network with BatchNorm."""
    from sklearn.datasets import load_digits

    from sweeps.tasks.models import SmallCNN

    splits = _classification(load_digits())
    images = {name: (x.view(-1, 1, 8, 8), y) for name, (x, y) in splits.items()}
    return classifier(lambda: SmallCNN(channels, 8), images, epochs=20, batch_size=64)


def exp_curve(hidden: int = 32, depth: int = 2) -> Task:
    """Regression of y = exp(x) on [-3, 3] in steps of 0.1: 61 points (37 / 12 / 12).

    Of each five neighbours three are trained on, one validates and one tests, so that all three
    sets span the range. The loss is in units of y's variance; `mae` is in y's own units.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from sweeps.tasks.models import mlp

    x = torch.linspace(-3.0, 3.0, 61, dtype=torch.float64).unsqueeze(1)
    y = x.exp()
    place = torch.arange(61) % 5
    train = (place != 1) & (place != 3)
    x_mean, x_std = x[train].mean(), x[train].std()
    y_mean, y_std = y[train].mean(), y[train].std()
    inputs = ((x - x_mean) / x_std).float()
    targets = ((y - y_mean) / y_std).float()

    def mae(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean() * y_std.item()

    return Task(
        model=lambda: mlp(1, hidden, 1, depth=depth, activation=nn.Tanh),
        train=(inputs[train], targets[train]),
        valid=(inputs[place == 1], targets[place == 1]),
        test=(inputs[place == 3], targets[place == 3]),
        loss=F.mse_loss,
        metrics={"mae": mae},
        epochs=200,
        batch_size=8,
    )


def _mlp(inputs: int, hidden: int, outputs: int, depth: int) -> Callable[[], nn.Module]:
    from torch import nn

    from sweeps.tasks.models import mlp

    return lambda: mlp(inputs, hidden, outputs, depth=depth, activation=nn.ReLU)


def classifier(
    model: Callable[[], nn.Module],
    splits: Mapping[str, tuple[Tensor, Tensor]],
    *,
    epochs: int,
    batch_size: int,
) -> Task:
    """Return the task of class indices as targets."""
    import torch.nn.functional as F

    return Task(
        model=model,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        loss=F.cross_entropy,
        epochs=epochs,
        batch_size=batch_size,
    )


def _classification(bunch: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Split 60 / 20 / 20 by class; scale each feature by the training examples' mean and std."""
    import torch
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    def split(x: Any, y: Any, size: int) -> Any:
        return train_test_split(x, y, test_size=size, stratify=y, random_state=SPLIT_SEED)

    size = round(len(bunch.target) / 5)
    rest_x, test_x, rest_y, test_y = split(bunch.data, bunch.target, size)
    train_x, valid_x, train_y, valid_y = split(rest_x, rest_y, size)
    scaler = StandardScaler().fit(train_x)

    def tensors(x: Any, y: Any) -> tuple[Tensor, Tensor]:
        scaled = torch.tensor(scaler.transform(x), dtype=torch.float32)
        return scaled, torch.tensor(y, dtype=torch.int64)

    return {
        "train": tensors(train_x, train_y),
        "valid": tensors(valid_x, valid_y),
        "test": tensors(test_x, test_y),
    }
